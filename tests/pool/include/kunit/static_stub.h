/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing is replaced here. */
#define KUNIT_STATIC_STUB_REDIRECT(real, ...) do { } while (0)
