/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __POOL_LINUX_PREEMPT_H
#define __POOL_LINUX_PREEMPT_H

#include "../../stub.h"

#define preempt_disable()	stub_preempt_disable()
#define preempt_enable()	stub_preempt_enable()

#endif
