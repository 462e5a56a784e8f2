/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_CPUMASK_H
#define __POOL_LINUX_CPUMASK_H

#include "../../stub.h"

#define nr_cpu_ids	stub_nr_cpus
#define num_online_cpus()	stub_nr_cpus
#define for_each_possible_cpu(cpu) \
	for ((cpu) = 0; (cpu) < (int)nr_cpu_ids; (cpu)++)

#endif
