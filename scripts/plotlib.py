# SPDX-License-Identifier: GPL-2.0
"""Charts, by gnuplot."""
import shutil
import subprocess

# Okabe and Ito's palette, and a shape for each, so that the lines differ without colour.
COLOURS = {"strict": "#555555", "4K": "#E69F00", "16K": "#56B4E9", "64K": "#0072B2", "256K": "#CC79A7",
           "auto": "#D55E00", "lazy": "#F0E442", "passthrough": "#009E73"}
ZERO = 0.1          # where an IOMMU that takes no time is drawn on a logarithmic axis


def gnuplot(text):
    """True if it was drawn. Names are plain text: "_" makes no subscript."""
    if not shutil.which("gnuplot"):
        print("no chart: there is no gnuplot (package gnuplot-nox)")
        return False
    subprocess.run(["gnuplot"], input="set encoding utf8\n" + text, text=True, check=True)
    return True


def terminal(svg, width, height):
    return f"set terminal svg noenhanced size {width},{height} dynamic font 'DejaVu Sans,13' background rgb 'white'\n" \
           f"set output '{svg}'\n"


# The fixed limits are left out: at these sizes they bounce, as auto does from 0.3 µs on.
STACK_MODES = ["strict", "lazy", "auto", "passthrough"]


def native(panels, svg):
    """Cost of map + unmap in ns."""
    return against_cost(panels, svg, "Map + unmap of a buffer that the device writes (DMA_FROM_DEVICE), copies included",
                        (30, 50000), "'100 ns' 100, '1 µs' 1000, '10 µs' 1e4")


def native_stack(panels, svg):
    """Thousand I/Os per second, of STACK_MODES."""
    panels = [(title, {mode: series[mode] for mode in STACK_MODES}) for title, series in panels]
    return against_cost(panels, svg, "I/Os per second of one CPU: reads, 64 in flight, copies included", (1, 10000),
                        "'1 k' 1, '10 k' 10, '100 k' 100, '1 M' 1000, '10 M' 10000", "cost of an IOMMU operation, µs")


def against_cost(panels, svg, title, yrange, ytics, xlabel="cost of each map, unmap and sync of the IOMMU, µs"):
    """
    Something against the cost of an IOMMU operation, both logarithmic. @panels:
    [(title, {mode: [(us, value)]})]. An operation that costs nothing stands apart on the left.
    """
    modes = list(dict.fromkeys(mode for _, series in panels for mode in series))
    costs = sorted({us for _, series in panels for points in series.values() for us, _ in points})
    tics = ", ".join(f"'{us:g}' {us or ZERO}" for us in costs)
    gap = f"{0.17 / len(panels):.3f}"
    text = terminal(svg, 420 * len(panels) + 20, 440) + \
        f"set multiplot layout 1,{len(panels)} title '{title}' font ',15' " \
        f"margins screen {gap},0.98,0.24,0.82 spacing screen {gap}\n" \
        "set logscale xy\nset border 3 linecolor rgb '#555555'\nset grid linecolor rgb '#dddddd' linetype 1\n" \
        f"set xrange [{ZERO * 0.8}:{max(costs) * 1.3}]\nset yrange [{yrange[0]}:{yrange[1]}]\nset xtics nomirror ({tics})\n" \
        f"set ytics nomirror ({ytics})\nset label 1 '//' at 0.175, graph 0 center front\n" \
        f"set xlabel '{xlabel}'\nunset key\n"
    style = {mode: f"pointtype {5 + 2 * (n % 3)} linecolor rgb '{COLOURS.get(mode, '#000000')}'"
             for n, mode in enumerate(modes)}
    for n, mode in enumerate(modes, 1):
        name = f"bounced up to {mode}" if mode[0].isdigit() else mode
        text += f"set label {n + 1} '{name}' at screen {(n - 0.5) / len(modes) - 0.06:.3f},0.06 " \
                f"point {style[mode]} offset 1.5,0\n"
    for at, (name, series) in enumerate(panels):
        if at:      # the legend is drawn once
            text += "".join(f"unset label {n + 2}\n" for n in range(len(modes)))
        text += f"set title '{name}'\nplot " + ", ".join(
            f"'-' with linespoints linewidth {3 if mode == 'auto' else 2} {style[mode]}" for mode in modes) + "\n"
        for mode in modes:
            # The empty line keeps the first point apart.
            text += "".join(f"{us or ZERO} {value}\n" + ("" if us else "\n") for us, value in sorted(series[mode])) + "e\n"
    return gnuplot(text)
