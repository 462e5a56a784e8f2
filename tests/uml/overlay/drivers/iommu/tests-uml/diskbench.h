/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The whole stack on a disk: what it costs, and whether data is right.
 */
#ifndef DISKBENCH_H
#define DISKBENCH_H

#include <linux/types.h>

struct device;

/* Print a line of JSON for each load: 0 or an error. */
int diskbench_measure(struct device *dev, unsigned int cost_ns);

/* Move data and compare it: 0 or an error. */
int diskcheck_run(struct device *dev, unsigned int steps);

#endif /* DISKBENCH_H */
