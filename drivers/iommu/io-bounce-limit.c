// SPDX-License-Identifier: GPL-2.0-only
/*
 * The automatic limit: which mappings are faster bounced than direct.
 *
 * That depends on the IOMMU, the caches and the load, so it is measured under load,
 * with the mappings that are made. In a round, some mappings of one kind go the way
 * that is not in use, and then, back to back, the one in use. The kind changes its way
 * if the other one was faster in two rounds, or twice as fast in one.
 *
 * Several mappings are timed at once, each until it is unmapped, so a round lasts no longer
 * than a few of them, and the bounced ones do not all use the same slot. A direct one is
 * mapped and unmapped once more for that. While others of its kind would be bounced, these
 * are mapped directly as well, because a lone direct mapping does not contend for the IOMMU.
 *
 * A timer starts rounds. Their cost decides when the next one is due: they are meant to
 * take 1/SHARE of the time of a CPU. Between rounds, the fast path compares
 * the size with a limit, and the slow path tests a bit.
 */

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <trace/events/iommu_bounce.h>

#include "io-bounce-limit.h"

/*
 * Mappings of a window. The first ones find cold caches, and do not count. Nor do those
 * that have begun before the first ones have ended.
 */
#define WARM		2
#define SAMPLES		(IO_BOUNCE_NR_SAMPLES - WARM)

/* Interrupts and steal time: the longest samples do not count either. */
#define OUTLIERS	2

/* A way is slower if it takes more than 1/HYSTERESIS longer. */
#define HYSTERESIS	16

/* What rounds may take of the time of a CPU */
#define SHARE		256

/* Between rounds of a domain, and of a kind, in jiffies */
#define ROUND_MIN	max(HZ / 50, 1)
#define ROUND_MAX	(16 * HZ)
#define KIND_MIN	(HZ / 4)
#define PERIOD_MAX	6

/* Mappings among which to look for a kind that is due, and when to look again, in jiffies */
#define LOOK_MAX	1024
#define LOOK_AGAIN	(HZ / 4)

/* Most bounced mappings, for each CPU, that a direct trial diverts */
#define DIVERTED_MAX	64

/* How long to wait for a sample, and while another kind is due, in jiffies */
#define STALL_TIME	HZ
#define YIELD_TIME	(HZ / 2)

/* Deadlines are 32 bits of jiffies; those that are further ahead have wrapped around. */
#define AHEAD_MAX	(64U * HZ)

static u32 now(void)
{
	return jiffies;
}

static bool due(u32 at)
{
	return now() - at < -AHEAD_MAX;
}

/**
 * io_bounce_limit_bytes - up to which size all mappings of one segment are bounced
 * @limit: the limit of the domain
 * @dir: DMA direction
 *
 * Return: the size in bytes; larger ones may be bounced, too.
 */
size_t io_bounce_limit_bytes(const struct io_bounce_limit *limit,
			     enum dma_data_direction dir)
{
	size_t max = READ_ONCE(limit->max), bytes = 0;
	unsigned int class;

	if (!READ_ONCE(limit->automatic))
		return max;
	for (class = 0; class < IO_BUFFER_NR_CLASSES && bytes < max; class++) {
		unsigned int kind = io_bounce_kind_index(dir, class, 0);

		if (!test_bit(kind, limit->bounced))
			break;
		bytes = min(io_bounce_kind_bytes(limit, kind), max);
	}
	return bytes;
}

/* The largest size at which some mappings, or some of one segment, are bounced */
static size_t top_bytes(const struct io_bounce_limit *limit, enum dma_data_direction dir,
			bool single)
{
	unsigned int class = IO_BUFFER_NR_CLASSES, segs, kind;

	if (!limit->automatic || limit->armed)
		return limit->max;
	while (class--) {
		for (segs = 0; segs < (single ? 1 : IO_BOUNCE_NR_SEGS); segs++) {
			kind = io_bounce_kind_index(dir, class, segs);
			if (test_bit(kind, limit->bounced))
				return min(io_bounce_kind_bytes(limit, kind), limit->max);
		}
	}
	return 0;
}

/* What the fast path reads; while @armed, it leaves all to the slow path. */
static void publish(struct io_bounce_limit *limit)
{
	unsigned int dir;

	for (dir = 0; dir < IO_BOUNCE_NR_DIRS; dir++) {
		WRITE_ONCE(limit->top[dir], top_bytes(limit, dir, false));
		WRITE_ONCE(limit->top_single[dir], top_bytes(limit, dir, true));
		WRITE_ONCE(limit->bytes[dir], limit->armed ? 0 :
			   io_bounce_limit_bytes(limit, dir));
	}
}

static void arm(struct io_bounce_limit *limit)
{
	WRITE_ONCE(limit->armed, true);
	WRITE_ONCE(limit->looked, 0);
	publish(limit);
}

static void disarm(struct io_bounce_limit *limit, unsigned long delay)
{
	WRITE_ONCE(limit->armed, false);
	publish(limit);
	mod_timer(&limit->timer, jiffies + max(delay, ROUND_MIN));
}

static void limit_timer(struct timer_list *timer)
{
	struct io_bounce_limit *limit = timer_container_of(limit, timer, timer);

	guard(raw_spinlock_irqsave)(&limit->lock);
	if (limit->automatic)
		arm(limit);
}

/* IDs of samples: the upper bits tell windows apart, and 0 is none. */
#define ID_STEP		16
static_assert(IO_BOUNCE_NR_SAMPLES <= ID_STEP);

static void open_window(struct io_bounce_window *w, bool bounced, bool trial)
{
	w->first += ID_STEP;
	if (!w->first)
		w->first = ID_STEP;
	WRITE_ONCE(w->timing, 0);
	WRITE_ONCE(w->bounced, bounced);
	WRITE_ONCE(w->trial, trial);
	WRITE_ONCE(w->progress, now());
	w->samples = 0;
	w->sum = 0;
	memset(w->longest, 0, sizeof(w->longest));
}

static bool open_round(struct io_bounce_limit *limit,
		       struct io_bounce_measure *m, unsigned int kind)
{
	struct io_bounce_window *w = &m->window;

	if (!due(m->kinds[kind].next)) {
		disarm(limit, LOOK_AGAIN);
		return false;
	}
	open_window(w, !test_bit(kind, limit->bounced), true);
	WRITE_ONCE(w->kind, kind);
	WRITE_ONCE(w->mapped, 0);
	WRITE_ONCE(w->open, true);
	return true;
}

static void close_round(struct io_bounce_window *w)
{
	WRITE_ONCE(w->open, false);
	WRITE_ONCE(w->timing, 0);
}

/*
 * No mapping of the kind comes, gets a slot, or is unmapped. @kind is that of another
 * mapping, perhaps.
 */
static bool stalled(const struct io_bounce_measure *m, unsigned int kind)
{
	const struct io_bounce_window *w = &m->window;
	u32 progress = READ_ONCE(w->progress);

	if (READ_ONCE(w->kind) != kind && !READ_ONCE(w->timing) &&
	    due(READ_ONCE(m->kinds[kind].next)))
		return due(progress + YIELD_TIME);
	return due(progress + STALL_TIME);
}

/* The longer it is clear, or fails, the less often a kind is measured. */
static u32 next_period(struct io_bounce_kind *k, unsigned int add)
{
	k->period = min(k->period + add, PERIOD_MAX);
	return KIND_MIN << k->period;
}

static void give_up(struct io_bounce_measure *m)
{
	struct io_bounce_window *w = &m->window;
	struct io_bounce_kind *k = &m->kinds[w->kind];
	u32 wait = next_period(k, 1);

	/* Mappings that stay for so long will not be faster the next time. */
	WRITE_ONCE(k->next, now() + (w->timing ? ROUND_MAX : wait));
	close_round(w);
}

/*
 * A kind is direct from now on. So are larger ones of as many segments: there is more to
 * copy, and no more to map. That holds until they are measured.
 */
static void go_direct(struct io_bounce_limit *limit, const struct io_bounce_kind *kinds,
		      unsigned int kind)
{
	size_t bytes;

	do {
		if (test_and_clear_bit(kind, limit->bounced))
			trace_iommu_bounce_limit(limit, kind, false, kinds[kind].ns);
		bytes = io_bounce_kind_bytes(limit, kind);
		kind += IO_BOUNCE_NR_SEGS;
		/* Those to the device are followed by the smallest from it. */
	} while (kind < IO_BOUNCE_NR_KINDS && io_bounce_kind_bytes(limit, kind) > bytes &&
		 !(kinds[kind].ns[false] && kinds[kind].ns[true]));
}

/* A round has ended: which way from now on? */
static void decide(struct io_bounce_limit *limit, unsigned int kind,
		   struct io_bounce_kind *k, bool bounced)
{
	u32 ns = k->ns[bounced], other = k->ns[!bounced];

	if (other + other / HYSTERESIS >= ns) {
		next_period(k, other > 2 * (u64)ns ? 2 : 1);
		k->wins = 0;
		return;
	}

	k->wins++;
	k->period = 0;
	if (k->wins < 2 && other >= ns / 2)
		return;
	k->wins = 0;
	if (bounced) {
		go_direct(limit, limit->measure->kinds, kind);
	} else {
		set_bit(kind, limit->bounced);
		trace_iommu_bounce_limit(limit, kind, true, k->ns);
	}
}

static void end_round(struct io_bounce_limit *limit, struct io_bounce_measure *m)
{
	struct io_bounce_window *w = &m->window;
	struct io_bounce_kind *k = &m->kinds[w->kind];
	u32 ns = k->ns[w->bounced], other = k->ns[!w->bounced];
	/* Direct samples are mapped twice. */
	u64 cost = (u64)k->ns[false] * (WARM + SAMPLES);
	u32 delay;

	if (other > ns)
		cost += (u64)(other - ns) * READ_ONCE(w->mapped);
	delay = min_t(u64, nsecs_to_jiffies64(cost * SHARE), ROUND_MAX);
	decide(limit, w->kind, k, w->bounced);
	/* Other kinds that are due come first. */
	WRITE_ONCE(k->next, now() + delay + (KIND_MIN << k->period));
	close_round(w);
	WRITE_ONCE(limit->rounds, limit->rounds + 1);
	disarm(limit, delay);
}

static void end_window(struct io_bounce_limit *limit, struct io_bounce_measure *m)
{
	struct io_bounce_window *w = &m->window;
	u64 ns = div_u64(w->sum - w->longest[0] - w->longest[1], SAMPLES - OUTLIERS);

	/* 0 means that it was not measured. */
	WRITE_ONCE(m->kinds[w->kind].ns[w->bounced], clamp_t(u64, ns, 1, U32_MAX));
	if (w->trial)
		open_window(w, !w->bounced, false);
	else
		end_round(limit, m);
}

static void add_sample(struct io_bounce_limit *limit, struct io_bounce_measure *m,
		       unsigned int index)
{
	struct io_bounce_window *w = &m->window;
	u32 ns = w->ns[index];

	WRITE_ONCE(w->progress, now());
	if (!(w->counted & BIT(index))) {
		w->samples = min(w->samples + 1, WARM);
		return;
	}
	w->samples++;
	w->sum += ns;
	if (ns > w->longest[1])
		w->longest[1] = ns;
	if (w->longest[1] > w->longest[0])
		swap(w->longest[0], w->longest[1]);
	if (w->samples == WARM + SAMPLES)
		end_window(limit, m);
}

#define ALL_TIMING	GENMASK(IO_BOUNCE_NR_SAMPLES - 1, 0)

/* Returns the ID of a new sample, 0 if a mapping of this kind is none. */
static u16 begin_sample(struct io_bounce_limit *limit,
			struct io_bounce_measure *m, unsigned int kind)
{
	struct io_bounce_window *w = &m->window;
	unsigned int index;

	if (!limit->automatic || !limit->armed)
		return 0;
	if (w->open && stalled(m, kind))
		give_up(m);
	if (!w->open && !open_round(limit, m, kind))
		return 0;
	if (w->kind != kind || w->timing == ALL_TIMING)
		return 0;
	index = ffz(w->timing);
	WRITE_ONCE(w->timing, w->timing | BIT(index));
	if (w->samples < WARM)
		w->counted &= ~BIT(index);
	else
		w->counted |= BIT(index);
	w->ns[index] = 0;
	if (w->trial)
		WRITE_ONCE(w->mapped, READ_ONCE(w->mapped) + 1);
	return w->first + index;
}

/* Is it worth taking the lock? */
static bool wants(struct io_bounce_limit *limit, const struct io_bounce_measure *m,
		  unsigned int kind)
{
	const struct io_bounce_window *w = &m->window;
	u32 looked;

	if (READ_ONCE(w->open))
		return (READ_ONCE(w->kind) == kind && READ_ONCE(w->timing) != ALL_TIMING) ||
		       stalled(m, kind);
	if (due(READ_ONCE(m->kinds[kind].next)))
		return true;
	/* CPUs may race: then some are not counted. */
	looked = READ_ONCE(limit->looked) + 1;
	WRITE_ONCE(limit->looked, looked);
	return looked >= LOOK_MAX;
}

/**
 * io_bounce_measure - perhaps measure a mapping
 * @limit: the limit of the domain
 * @size: in bytes
 * @nr_segs: physically contiguous segments, at least 1
 * @dir: DMA direction
 *
 * Context: any but NMI.
 * Return: what to do with the mapping. A sample has to be timed, and ended with
 * io_bounce_sample_end().
 */
struct io_bounce_verdict io_bounce_measure(struct io_bounce_limit *limit,
					   size_t size, unsigned int nr_segs,
					   enum dma_data_direction dir)
{
	unsigned int kind = io_bounce_kind_of(limit, size, nr_segs, dir);
	/* Pairs with io_bounce_limit_alloc(). */
	struct io_bounce_measure *m = smp_load_acquire(&limit->measure);
	struct io_bounce_verdict verdict = { .bounce = test_bit(kind, limit->bounced) };
	struct io_bounce_window *w;
	unsigned long flags;
	u32 mapped;

	if (!m) {
		queue_work(system_dfl_wq, limit->work);
		return verdict;
	}

	w = &m->window;
	if (wants(limit, m, kind) && raw_spin_trylock_irqsave(&limit->lock, flags)) {
		verdict.sample = begin_sample(limit, m, kind);
		if (verdict.sample)
			verdict.bounce = w->bounced;
		raw_spin_unlock_irqrestore(&limit->lock, flags);
	}
	if (verdict.sample || !verdict.bounce || !READ_ONCE(w->open) ||
	    READ_ONCE(w->kind) != kind || READ_ONCE(w->bounced))
		return verdict;

	/* CPUs may race: then some are not counted. */
	mapped = READ_ONCE(w->mapped);
	if (mapped < DIVERTED_MAX * num_online_cpus()) {
		WRITE_ONCE(w->mapped, mapped + 1);
		verdict.bounce = false;
	}
	return verdict;
}

/**
 * io_bounce_clock - the clock for samples
 *
 * Return: nanoseconds.
 */
u64 io_bounce_clock(void)
{
	return ktime_get_mono_fast_ns();
}

/* Nanoseconds since @start, without those that reading the clock takes */
static u64 time_since(u64 start)
{
	u64 end = io_bounce_clock(), clock = io_bounce_clock() - end;

	/* On some machines, CPUs do not agree. */
	return (s64)(end - start) > (s64)clock ? end - start - clock : 0;
}

/* Adds to the time of a sample. Returns where that is, NULL if it has been given up. */
static u32 *add_time(struct io_bounce_window *w, u16 sample, u64 ns)
{
	unsigned int index = sample - w->first;

	if (index >= IO_BOUNCE_NR_SAMPLES || !(w->timing & BIT(index)))
		return NULL;
	w->ns[index] = min_t(u64, w->ns[index] + ns, U32_MAX);
	return &w->ns[index];
}

/**
 * io_bounce_sample_add - a step of a sample has ended
 * @limit: the limit of the domain
 * @sample: ID of the sample
 * @start: when the step began, from io_bounce_clock()
 *
 * Context: any but NMI.
 */
void io_bounce_sample_add(struct io_bounce_limit *limit, u16 sample, u64 start)
{
	u64 ns = time_since(start);

	guard(raw_spinlock_irqsave)(&limit->lock);
	add_time(&limit->measure->window, sample, ns);
}

/**
 * io_bounce_sample_end - the last step of a sample has ended
 * @limit: the limit of the domain
 * @sample: ID of the sample
 * @start: when the step began, from io_bounce_clock()
 * @valid: all steps were timed
 *
 * Context: any but NMI.
 */
void io_bounce_sample_end(struct io_bounce_limit *limit, u16 sample, u64 start,
			  bool valid)
{
	struct io_bounce_window *w = &limit->measure->window;
	u64 ns = time_since(start);
	u32 *sum;

	guard(raw_spinlock_irqsave)(&limit->lock);
	sum = add_time(w, sample, ns);
	if (!sum)
		return;
	WRITE_ONCE(w->timing, w->timing & ~BIT(sum - w->ns));
	if (valid)
		add_sample(limit, limit->measure, sum - w->ns);
	else if (w->trial && READ_ONCE(w->mapped))
		WRITE_ONCE(w->mapped, READ_ONCE(w->mapped) - 1);
}

static void set_limit(struct io_bounce_limit *limit, bool automatic, size_t max)
{
	struct io_bounce_measure *m = READ_ONCE(limit->measure);

	WRITE_ONCE(limit->automatic, automatic);
	WRITE_ONCE(limit->max, max);
	if (m)
		close_round(&m->window);
	WRITE_ONCE(limit->armed, false);
}

/**
 * io_bounce_limit_fixed - set a fixed limit
 * @limit: the limit of the domain, which may be in use
 * @max: the limit in bytes
 */
void io_bounce_limit_fixed(struct io_bounce_limit *limit, size_t max)
{
	guard(raw_spinlock_irqsave)(&limit->lock);
	set_limit(limit, false, max);
	publish(limit);
}

static void all_kinds_due(struct io_bounce_measure *m)
{
	unsigned int kind;

	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++) {
		WRITE_ONCE(m->kinds[kind].ns[false], 0);
		WRITE_ONCE(m->kinds[kind].ns[true], 0);
		m->kinds[kind].wins = 0;
		m->kinds[kind].period = 0;
		WRITE_ONCE(m->kinds[kind].next, now());
	}
}

/**
 * io_bounce_limit_auto - start to measure
 * @limit: the limit of the domain, which may be in use
 * @start: up to which size mappings are bounced until they are measured, in bytes
 * @max: the highest limit in bytes
 */
void io_bounce_limit_auto(struct io_bounce_limit *limit, size_t start, size_t max)
{
	struct io_bounce_measure *m;
	unsigned int kind;

	guard(raw_spinlock_irqsave)(&limit->lock);
	set_limit(limit, true, max);
	for (kind = 0; kind < IO_BOUNCE_NR_KINDS; kind++)
		assign_bit(kind, limit->bounced,
			   io_bounce_kind_bytes(limit, kind) <= start);
	m = READ_ONCE(limit->measure);
	if (m)
		all_kinds_due(m);
	arm(limit);
}

/**
 * io_bounce_limit_alloc - allocate memory to measure
 * @limit: the limit of the domain
 *
 * Without memory, an automatic limit stays as it began.
 *
 * Context: may sleep; not concurrently for the same @limit.
 */
void io_bounce_limit_alloc(struct io_bounce_limit *limit)
{
	struct io_bounce_measure *m;

	if (!READ_ONCE(limit->automatic) || limit->measure)
		return;
	m = kzalloc_obj(*m);
	if (!m)
		return;
	all_kinds_due(m);
	/* Pairs with io_bounce_measure(). */
	smp_store_release(&limit->measure, m);
}

/**
 * io_bounce_limit_init - initialise the limit of a domain: nothing is bounced
 * @limit: zeroed memory
 * @mgr: the manager of the domain's buffers
 * @work: calls io_bounce_limit_alloc()
 */
void io_bounce_limit_init(struct io_bounce_limit *limit,
			  const struct io_buffer_manager *mgr,
			  struct work_struct *work)
{
	limit->mgr = mgr;
	limit->work = work;
	raw_spin_lock_init(&limit->lock);
	timer_setup(&limit->timer, limit_timer, 0);
}

/**
 * io_bounce_limit_destroy - undo io_bounce_limit_init()
 * @limit: the limit, which is not used any more
 *
 * Context: may sleep.
 */
void io_bounce_limit_destroy(struct io_bounce_limit *limit)
{
	timer_shutdown_sync(&limit->timer);
	kfree(limit->measure);
}
