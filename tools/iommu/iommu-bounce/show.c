// SPDX-License-Identifier: GPL-2.0-only
/*
 * Samples as a table for people and as JSON for programs. Without an earlier
 * sample they are totals; with one, they are what was done in between.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "iommu-bounce.h"

#define MIB		1048576.0

/* Room for a cell of the table */
#define CELL		16

/* Up to four digits, or three and a point, and a letter */
static const char *scaled(char *cell, double n, unsigned int step)
{
	static const char units[] = " KMGTPEZY";
	unsigned int unit = 0;

	while (n >= (step == 1000 ? 9999.5 : step) && units[unit + 1]) {
		n /= step;
		unit++;
	}
	snprintf(cell, CELL, "%.*f%.*s",
		 unit && n < 99.95 && n != (unsigned int)n, n,
		 !!unit, &units[unit]);
	return cell;
}

static const char *percent(char *cell, unsigned long long part, unsigned long long rest)
{
	double all = (double)part + (double)rest;

	if (!all)
		return "-";
	snprintf(cell, CELL, "%.1f", 100 * part / all);
	return cell;
}

static const char *limit(char *cell, const struct group *group,
			 const char *name)
{
	unsigned long long value;

	return find_value(group, name, &value) ? scaled(cell, value, 1024) : "-";
}

/* At least @width characters; none that would have a terminal do something. */
static void put_name(FILE *out, const char *name, int width)
{
	for (; *name; name++, width--)
		putc(isprint((unsigned char)*name) ? *name : '?', out);
	fprintf(out, "%*s", width > 0 ? width : 0, "");
}

static void put_figures(FILE *out, const struct figures *f, double seconds)
{
	char held[CELL], max[CELL], hit[CELL], skip[CELL], avoided[CELL];

	fprintf(out, " %6s %6s %6s %6s", scaled(held, f->memory, 1024),
		scaled(max, f->memory_max, 1024),
		percent(hit, f->hits, f->misses),
		percent(skip, f->skips, f->hits + f->misses));
	fprintf(out, " %9.1f %9.1f %9s", f->in / MIB / seconds,
		f->out / MIB / seconds,
		scaled(avoided, OPERATIONS_PER_HIT * (double)f->hits / seconds,
		       1000));
}

static void put_row(FILE *out, const struct group *group,
		    const struct figures *f, double seconds)
{
	char to[CELL], from[CELL];
	size_t i;

	fprintf(out, "%5u ", group->id);
	put_name(out, group->type ? group->type : "-", 8);
	fprintf(out, " %6s %6s", limit(to, group, "limit_to_device"),
		limit(from, group, "limit_from_device"));
	put_figures(out, f, seconds);
	for (i = 0; i < group->nr_devices; i++) {
		fputs(i ? " " : "  ", out);
		put_name(out, group->devices[i], 0);
	}
	putc('\n', out);
}

static void add(struct figures *all, const struct figures *f)
{
	all->hits += f->hits;
	all->misses += f->misses;
	all->skips += f->skips;
	all->in += f->in;
	all->out += f->out;
	all->memory += f->memory;
	all->memory_max += f->memory_max;
}

static void put_head(FILE *out, bool rates, double seconds)
{
	time_t now = time(NULL);
	char clock[CELL];

	if (rates) {
		strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&now));
		fprintf(out, "%s, over %.1f s\n", clock, seconds);
	}
	fputs("GROUP TYPE         TO   FROM   HELD     OF   HIT%  SKIP% ", out);
	fputs(rates ? " IN MiB/s OUT MiB/s AVOIDED/s" :
		      "   IN MiB   OUT MiB   AVOIDED", out);
	fputs("  DEVICES\n", out);
}

/* Each line over an older one, as far as there is room. */
static void paint(const char *table)
{
	struct winsize window = {};
	unsigned int lines = 0;

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
	fputs("\033[H", stdout);
	while (*table) {
		size_t len = strcspn(table, "\n"), fits = len;

		if (window.ws_col && fits > window.ws_col)
			fits = window.ws_col;
		if (!window.ws_row || ++lines < window.ws_row)
			printf("%.*s\033[K\n", (int)fits, table);
		table += len + !!table[len];
	}
	fputs("\033[J", stdout);
}

void show_table(const struct sample *now, const struct sample *then,
		bool in_place)
{
	double seconds = then ? now->time - then->time : 1;
	struct figures all = {};
	char *table;
	size_t i, len;
	FILE *out = open_memstream(&table, &len);

	if (!out)
		errx(1, "out of memory");
	put_head(out, then, seconds);
	for (i = 0; i < now->nr; i++) {
		const struct group *group = &now->groups[i];
		struct figures f = get_figures(group, then ?
				find_group(then, group->id) : NULL);

		put_row(out, group, &f, seconds);
		add(&all, &f);
	}
	if (now->nr > 1) {
		fprintf(out, "%5s %-8s %6s %6s", "all", "", "", "");
		put_figures(out, &all, seconds);
		putc('\n', out);
	}
	if (fclose(out))
		errx(1, "out of memory");
	if (in_place)
		paint(table);
	else
		fputs(table, stdout);
	free(table);
}

/* Bytes that are not ASCII are taken for Latin-1, so that any are valid. */
static void json_string(const char *s, size_t len)
{
	size_t i;

	putchar('"');
	for (i = 0; i < len; i++) {
		unsigned char c = s[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

/* A number if any reader of JSON would take it for one */
static void json_value(const char *word, size_t len)
{
	bool number = len && len <= 20 && strspn(word, "0123456789") >= len &&
		      (*word != '0' || len == 1);

	if (number)
		printf("%.*s", (int)len, word);
	else
		json_string(word, len);
}

/* One value as it is, several as an array, none as null */
static void json_counter(const struct counter *counter)
{
	const char *word = counter->values + strspn(counter->values, " \t\r");
	size_t len = strcspn(word, " \t\r");
	const char *next = word + len + strspn(word + len, " \t\r");
	bool several = *next;

	json_string(counter->name, strlen(counter->name));
	fputs(several ? ": [" : ": ", stdout);
	if (!*word)
		fputs("null", stdout);
	while (*word) {
		json_value(word, len);
		word = next;
		len = strcspn(word, " \t\r");
		next = word + len + strspn(word + len, " \t\r");
		if (*word)
			fputs(", ", stdout);
	}
	if (several)
		putchar(']');
}

static void json_figures(const struct figures *f, double seconds)
{
	double tried = (double)f->hits + (double)f->misses;

	printf("\"hits\": %llu, \"misses\": %llu, \"skips\": %llu, ", f->hits,
	       f->misses, f->skips);
	fputs("\"hit_rate\": ", stdout);
	if (tried)
		printf("%.6f", f->hits / tried);
	else
		fputs("null", stdout);
	printf(", \"bytes_in\": %llu, \"bytes_out\": %llu, ", f->in, f->out);
	printf("\"operations_avoided\": %.0f, ",
	       OPERATIONS_PER_HIT * (double)f->hits);
	if (seconds)
		printf("\"bytes_per_second\": %.0f, ",
		       ((double)f->in + (double)f->out) / seconds);
}

static void json_group(const struct group *group, const struct figures *f,
		       double seconds)
{
	size_t i;

	printf("{\"group\": %u, \"type\": ", group->id);
	if (group->type)
		json_string(group->type, strlen(group->type));
	else
		fputs("null", stdout);
	fputs(", \"devices\": [", stdout);
	for (i = 0; i < group->nr_devices; i++) {
		fputs(i ? ", " : "", stdout);
		json_string(group->devices[i], strlen(group->devices[i]));
	}
	fputs("], ", stdout);
	json_figures(f, seconds);
	fputs("\"counters\": {", stdout);
	for (i = 0; i < group->nr_counters; i++) {
		fputs(i ? ", " : "", stdout);
		json_counter(&group->counters[i]);
	}
	fputs("}}", stdout);
}

void show_json(const struct sample *now, const struct sample *then)
{
	double seconds = then ? now->time - then->time : 0;
	size_t i;

	fputs("{\"seconds\": ", stdout);
	if (then)
		printf("%.6f", seconds);
	else
		fputs("null", stdout);
	fputs(", \"groups\": [", stdout);
	for (i = 0; i < now->nr; i++) {
		const struct group *group = &now->groups[i];
		struct figures f = get_figures(group, then ?
				find_group(then, group->id) : NULL);

		fputs(i ? ", " : "", stdout);
		json_group(group, &f, seconds);
	}
	fputs("]}\n", stdout);
}
