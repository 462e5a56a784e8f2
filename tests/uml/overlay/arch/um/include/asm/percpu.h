/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Test only: on one CPU, per-CPU counters are what they are on x86, one instruction, which
 * no signal can interrupt. User-mode Linux masks signals around them otherwise, by
 * function calls.
 */
#ifndef __UM_TEST_PERCPU_H
#define __UM_TEST_PERCPU_H

#ifndef CONFIG_SMP

#define um_this_cpu_op(insn, type, pcp, val)				\
	asm volatile(insn " %1, %0" : "+m" (*(type *)raw_cpu_ptr(&(pcp)))	\
		     : "re" ((type)(val)))

#define this_cpu_add_4(pcp, val)	um_this_cpu_op("addl", u32, pcp, val)
#define this_cpu_add_8(pcp, val)	um_this_cpu_op("addq", u64, pcp, val)
#define this_cpu_write_1(pcp, val)	WRITE_ONCE(*raw_cpu_ptr(&(pcp)), val)
#define this_cpu_write_4(pcp, val)	WRITE_ONCE(*raw_cpu_ptr(&(pcp)), val)
#define this_cpu_write_8(pcp, val)	WRITE_ONCE(*raw_cpu_ptr(&(pcp)), val)

#endif

#include <asm-generic/percpu.h>

#endif /* __UM_TEST_PERCPU_H */
