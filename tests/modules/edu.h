/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QEMU's "edu" device: a DMA engine that copies up to 4 KiB between memory and a buffer of
 * its own. docs/specs/edu.rst of QEMU describes it.
 */
#ifndef TESTS_MODULES_EDU_H
#define TESTS_MODULES_EDU_H

#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iopoll.h>
#include <linux/pci.h>

#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_CMD_RUN	BIT(0)
#define EDU_CMD_TO_RAM	BIT(1)
#define EDU_BUFFER	0x40000

#define EDU_ID		PCI_DEVICE(0x1234, 0x11e8)

/* Start a transfer and wait for its end: 100 ms, whatever its length. */
static inline int edu_dma(void __iomem *regs, u64 src, u64 dst, size_t len, u32 cmd)
{
	u32 val;

	lo_hi_writeq(src, regs + EDU_DMA_SRC);
	lo_hi_writeq(dst, regs + EDU_DMA_DST);
	lo_hi_writeq(len, regs + EDU_DMA_COUNT);
	writel(cmd | EDU_CMD_RUN, regs + EDU_DMA_CMD);
	return read_poll_timeout(readl, val, !(val & EDU_CMD_RUN), 2000, 5000000,
				 true, regs + EDU_DMA_CMD);
}

static inline void __iomem *edu_enable(struct pci_dev *pdev)
{
	int ret = pcim_enable_device(pdev);

	return ret ? IOMEM_ERR_PTR(ret) :
		     pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
}

#endif
