// SPDX-License-Identifier: GPL-2.0
/*
 * usage: xsk copy|zerocopy INTERFACE PEER FRAMES STATS
 *
 * Frames between an XDP socket on INTERFACE and a packet socket on PEER, which is
 * on the same wire: FRAMES of them each way, every byte checked. A frame that is
 * lost is sent again; one that is not as it was sent is an error.
 *
 * Chunks are half a page, so that a mapping has two of them. Each is poisoned
 * before the kernel gets it: what is found in it later came in that frame.
 *
 * Prints the counters of STATS, those of the bounce buffers of INTERFACE, when
 * the socket is there, and after each direction.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHUNK		2048
#define CHUNKS		512
#define RING		256
#define BATCH		64
#define PROTOCOL	0x88b5	/* for experiments on one's own wire */
#define POISON		0xa5
#define MAX_TRIES	50

/* What a frame begins with; the rest follows from it. */
struct head {
	uint8_t to[ETH_ALEN], from[ETH_ALEN];
	uint16_t protocol;
	uint32_t run, seq;
} __attribute__((packed));

struct ring {
	uint32_t *producer, *consumer;
	void *slots;
};

static struct ring rx, tx, fill, completion;
static uint8_t *umem;
static int xsk, wire;
static uint32_t run_id;
static const char *stats_path;

static void die(const char *what)
{
	printf("@@xsk failed: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(bool is_so, const char *what)
{
	if (!is_so)
		die(what);
}

/* Counters on one line */
static void report(const char *when)
{
	FILE *f = fopen(stats_path, "r");
	char name[64];
	long value;

	must(f, stats_path);
	printf("@@%s", when);
	while (fscanf(f, "%63s %ld%*[^\n]", name, &value) == 2)
		printf(" %s=%ld", name, value);
	printf("\n");
	fclose(f);
}

/* Frames */

static uint32_t frame_len(uint32_t seq)
{
	return ETH_ZLEN + seq * 769 % (ETH_FRAME_LEN - ETH_ZLEN + 1);
}

static void make_frame(uint8_t *to, uint32_t run, uint32_t seq)
{
	struct head head = { .protocol = htons(PROTOCOL), .run = run, .seq = seq };
	uint32_t i, len = frame_len(seq), x = run * 2654435761u ^ (seq + 1);

	memset(head.to, 0xff, ETH_ALEN);
	head.from[0] = 2;
	memcpy(to, &head, sizeof(head));
	for (i = sizeof(head); i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		to[i] = x >> 24;
	}
}

/* Which frame of this run is it? -1: none of it. Not what was sent: the end. */
static int check_frame(const uint8_t *data, uint32_t len, uint32_t frames)
{
	uint8_t want[ETH_FRAME_LEN];
	struct head head;
	uint32_t i;

	memcpy(&head, data, sizeof(head));
	if (len < ETH_ZLEN || head.protocol != htons(PROTOCOL)) {
		/* Nobody else speaks here: even that is not what was sent. */
		printf("@@xsk corrupt: %u bytes of something else\n", len);
		exit(1);
	}
	if (head.run != run_id)
		return -1;
	if (head.seq >= frames || len != frame_len(head.seq)) {
		printf("@@xsk corrupt: frame %u has %u bytes\n", head.seq, len);
		exit(1);
	}
	make_frame(want, head.run, head.seq);
	for (i = 0; i < len; i++) {
		if (data[i] != want[i]) {
			printf("@@xsk corrupt: frame %u, byte %u of %u: %02x, not %02x\n",
			       head.seq, i, len, data[i], want[i]);
			exit(1);
		}
	}
	return head.seq;
}

/* The XDP program: what arrives goes to the socket of its queue. */

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static void redirect_to_socket(int ifindex, int map)
{
	const struct bpf_insn insns[] = {
		/* r2 = ctx->rx_queue_index */
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_1,
		  .off = offsetof(struct xdp_md, rx_queue_index) },
		/* r1 = map */
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static char log[4096];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insn_cnt = sizeof(insns) / sizeof(insns[0]),
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)"GPL",
		.log_buf = (uintptr_t)log, .log_size = sizeof(log), .log_level = 1,
	};
	int prog = bpf(BPF_PROG_LOAD, &attr), link;

	if (prog < 0)
		fputs(log, stdout);
	must(prog >= 0, "BPF_PROG_LOAD");
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = prog;
	attr.link_create.target_ifindex = ifindex;
	attr.link_create.attach_type = BPF_XDP;
	attr.link_create.flags = XDP_FLAGS_DRV_MODE;
	/* It stays for as long as we do. */
	link = bpf(BPF_LINK_CREATE, &attr);
	must(link >= 0, "BPF_LINK_CREATE");
}

static int make_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1,
	};
	int map = bpf(BPF_MAP_CREATE, &attr);

	must(map >= 0, "BPF_MAP_CREATE");
	return map;
}

static void put_in_map(int map)
{
	uint32_t key = 0, value = xsk;
	union bpf_attr attr = {
		.map_fd = map, .key = (uintptr_t)&key, .value = (uintptr_t)&value,
	};

	must(!bpf(BPF_MAP_UPDATE_ELEM, &attr), "BPF_MAP_UPDATE_ELEM");
}

/* Rings: this end is the only one that moves its index. */

static void map_ring(struct ring *ring, uint64_t at, const struct xdp_ring_offset *off, size_t slot)
{
	uint8_t *base = mmap(NULL, off->desc + RING * slot, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, xsk, at);

	must(base != MAP_FAILED, "mmap of a ring");
	ring->producer = (uint32_t *)(base + off->producer);
	ring->consumer = (uint32_t *)(base + off->consumer);
	ring->slots = base + off->desc;
}

static void *slot_to_fill(struct ring *ring, size_t size)
{
	uint32_t consumer = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);

	if (*ring->producer - consumer == RING)
		return NULL;
	return (uint8_t *)ring->slots + (*ring->producer % RING) * size;
}

static void filled(struct ring *ring)
{
	__atomic_store_n(ring->producer, *ring->producer + 1, __ATOMIC_RELEASE);
}

static void *slot_to_read(struct ring *ring, size_t size)
{
	uint32_t producer = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);

	if (producer == *ring->consumer)
		return NULL;
	return (uint8_t *)ring->slots + (*ring->consumer % RING) * size;
}

static void was_read(struct ring *ring)
{
	__atomic_store_n(ring->consumer, *ring->consumer + 1, __ATOMIC_RELEASE);
}

static void give_chunk(uint64_t addr)
{
	uint64_t *slot = slot_to_fill(&fill, sizeof(*slot));

	must(slot, "room in the fill ring");
	addr -= addr % CHUNK;
	memset(umem + addr, POISON, CHUNK);
	*slot = addr;
	filled(&fill);
}

static void open_xsk(int ifindex, bool zerocopy, int map)
{
	struct xdp_umem_reg reg = { .len = CHUNKS * CHUNK, .chunk_size = CHUNK };
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP, .sxdp_ifindex = ifindex,
		.sxdp_flags = XDP_USE_NEED_WAKEUP | (zerocopy ? XDP_ZEROCOPY : XDP_COPY),
	};
	struct xdp_mmap_offsets off;
	struct xdp_options options;
	socklen_t len = sizeof(off);
	int i, size = RING;

	umem = mmap(NULL, reg.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	must(umem != MAP_FAILED, "mmap");
	reg.addr = (uintptr_t)umem;
	xsk = socket(AF_XDP, SOCK_RAW, 0);
	must(xsk >= 0, "socket(AF_XDP)");
	must(!setsockopt(xsk, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)), "XDP_UMEM_REG");
	for (i = XDP_RX_RING; i <= XDP_UMEM_COMPLETION_RING; i++)
		if (i != XDP_UMEM_REG)
			must(!setsockopt(xsk, SOL_XDP, i, &size, sizeof(size)), "size of a ring");
	must(!getsockopt(xsk, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len), "XDP_MMAP_OFFSETS");
	map_ring(&rx, XDP_PGOFF_RX_RING, &off.rx, sizeof(struct xdp_desc));
	map_ring(&tx, XDP_PGOFF_TX_RING, &off.tx, sizeof(struct xdp_desc));
	map_ring(&fill, XDP_UMEM_PGOFF_FILL_RING, &off.fr, sizeof(uint64_t));
	map_ring(&completion, XDP_UMEM_PGOFF_COMPLETION_RING, &off.cr, sizeof(uint64_t));
	/* The first half of the chunks is to receive, the other one to send. */
	for (i = 0; i < RING; i++)
		give_chunk(i * CHUNK);
	must(!bind(xsk, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	len = sizeof(options);
	must(!getsockopt(xsk, SOL_XDP, XDP_OPTIONS, &options, &len), "XDP_OPTIONS");
	errno = 0;
	must(!(options.flags & XDP_OPTIONS_ZEROCOPY) == !zerocopy, "the mode that was asked for");
	put_in_map(map);
}

static void open_wire(int ifindex)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET, .sll_protocol = htons(PROTOCOL), .sll_ifindex = ifindex,
	};
	int room = 4 << 20;

	wire = socket(AF_PACKET, SOCK_RAW, htons(PROTOCOL));
	must(wire >= 0, "socket(AF_PACKET)");
	must(!setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)), "SO_RCVBUFFORCE");
	must(!bind(wire, (struct sockaddr *)&addr, sizeof(addr)), "bind to the peer");
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

/* From the wire to the socket, or the other way */

static bool send_on_wire(uint32_t seq)
{
	uint8_t frame[ETH_FRAME_LEN];

	make_frame(frame, run_id, seq);
	return send(wire, frame, frame_len(seq), 0) == frame_len(seq) || errno == ENOBUFS;
}

static int receive_on_xsk(uint32_t frames)
{
	struct xdp_desc *desc;
	int seq;

	/* Even if something is there already: this is also what has it refilled. */
	if (!readable(xsk, 0) && !readable(xsk, 200))
		return -1;
	desc = slot_to_read(&rx, sizeof(*desc));
	if (!desc)
		return -1;
	seq = check_frame(umem + desc->addr, desc->len, frames);
	give_chunk(desc->addr);
	was_read(&rx);
	return seq;
}

static void collect_sent(void)
{
	uint64_t *done;

	while ((done = slot_to_read(&completion, sizeof(*done)))) {
		memset(umem + *done - *done % CHUNK, POISON, CHUNK);
		was_read(&completion);
	}
}

static bool kick(void)
{
	return sendto(xsk, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno == EAGAIN || errno == EBUSY ||
		errno == ENOBUFS;
}

static bool send_on_xsk(uint32_t seq)
{
	static uint32_t next;
	struct xdp_desc *desc;
	int tries = 0;

	/* As many chunks as the ring has slots: a slot is free when its chunk is. */
	while (next - *completion.consumer == RING || !(desc = slot_to_fill(&tx, sizeof(*desc)))) {
		collect_sent();
		if (!kick() || ++tries > 2000)
			return false;
		usleep(500);
	}
	/* At odd places in their chunks */
	desc->addr = (RING + next % RING) * CHUNK + seq % 97;
	desc->len = frame_len(seq);
	desc->options = 0;
	make_frame(umem + desc->addr, run_id, seq);
	filled(&tx);
	next++;
	return kick();
}

static int receive_on_wire(uint32_t frames)
{
	uint8_t frame[CHUNK];
	ssize_t len;
	int seq = -1;

	collect_sent();
	if (!readable(wire, 0)) {
		kick();
		if (!readable(wire, 200))
			return -1;
	}
	len = recv(wire, frame, sizeof(frame), 0);
	if (len > 0)
		seq = check_frame(frame, len, frames);
	return seq;
}

static void transfer(const char *what, uint32_t frames, bool (*send_one)(uint32_t seq),
		     int (*receive_one)(uint32_t frames))
{
	uint8_t *got = calloc(frames, 1);
	uint32_t seq, first, last, left, sent = 0, tries;
	unsigned long long bytes = 0;
	int one;

	must(got, "calloc");
	run_id++;
	for (first = 0; first < frames; first = last) {
		last = first + BATCH < frames ? first + BATCH : frames;
		left = last - first;
		for (tries = 0; left; tries++) {
			if (tries == MAX_TRIES) {
				printf("@@xsk failed: %s: %u of the frames from %u on do not arrive\n",
				       what, left, first);
				exit(1);
			}
			for (seq = first; seq < last; seq++) {
				if (got[seq])
					continue;
				must(send_one(seq), what);
				sent++;
			}
			while (left && (one = receive_one(frames)) >= 0) {
				left -= !got[one];
				bytes += got[one] ? 0 : frame_len(one);
				got[one] = 1;
			}
		}
	}
	free(got);
	printf("@@%s frames=%u bytes=%llu lost=%u\n", what, frames, bytes, sent - frames);
	report(what);
}

int main(int argc, char **argv)
{
	int ifindex, peer, frames, map;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 6)
		return 2;
	ifindex = if_nametoindex(argv[2]);
	peer = if_nametoindex(argv[3]);
	frames = atoi(argv[4]);
	stats_path = argv[5];
	must(ifindex && peer && frames > 0, "arguments");
	/* Not those of an earlier one */
	run_id = getpid() << 8;
	map = make_map();
	redirect_to_socket(ifindex, map);
	report("before");
	open_xsk(ifindex, !strcmp(argv[1], "zerocopy"), map);
	open_wire(peer);
	report("bound");
	transfer("received", frames, send_on_wire, receive_on_xsk);
	transfer("sent", frames, send_on_xsk, receive_on_wire);
	printf("@@xsk done\n");
	return 0;
}
