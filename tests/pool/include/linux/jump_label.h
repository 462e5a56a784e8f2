/* SPDX-License-Identifier: GPL-2.0 */
/* Only the ownership checker, which is not built here, has a key. */
