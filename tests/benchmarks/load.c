/* The client of the server benchmarks: C connections with K requests outstanding on each, every answer checked.
 *
 * One thread, one edge-triggered epoll set, non-blocking sockets, a closed loop: a request leaves when an answer came. All
 * answers of one read are checked first and their successors leave in one write, the clock is read once per read: the
 * client must never be what is measured. In C because no Python client can load a Python server (performance.md).
 *
 * An answer counts only when its transaction id is outstanding and unit, length, function and byte count (functions 1-4)
 * or address and quantity (function 16) are right. A request without an answer for STALL seconds is lost: it is
 * counted and its place is taken by a new one, so a server that forgets requests cannot hang the client.
 *
 * usage: load PORT CONNECTIONS OUTSTANDING FUNCTION QUANTITY SECONDS WARMUP STALL [ADDRESSES]    (FUNCTION 3 or 16)
 *
 * ADDRESSES turn (default): all connections go through the same 80 addresses. For what stands before a device of
 * device_farm.c, whose register a holds a, and there the values are checked, too: own: each connection has addresses that no
 * other asks for, so no two requests in flight are the same; same: all ask for the same.
 *
 * prints one line of JSON; the exit status is not 0 only when it could not run at all.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UNIT 1
#define MAX_OUTSTANDING 64            /* a transaction id is generation * 64 + slot */
#define MAX_ADU 260                   /* Modbus TCP 1.0b 4.1 */
#define BLOCKS 80                     /* addresses 0, 10, .. 790 in turn: within 0..999 with 125 registers, and no single */
#define BLOCK_STEP 10                 /* request that a cache of one entry could answer */
#define SUB_BITS 6                    /* 64 buckets per power of two: a percentile is right to 1.6 % */
#define SUB (1u << SUB_BITS)
#define FARM_FIRST 10                 /* register 0 of the farm counts */
#define FARM_STOP 65000
#define EVENTS 256
#define SWEEP_NS 50000000ull          /* how often lost requests are looked for */

struct slot {
    uint64_t sent_ns;
    uint16_t tid;
    uint16_t address;
    bool busy;
};

struct connection {
    int fd; /* -1: closed */
    unsigned block;
    unsigned first;                   /* its addresses begin here */
    unsigned have;                    /* bytes in `in` */
    unsigned out_at, out_end;         /* what is still to be written */
    struct slot slots[MAX_OUTSTANDING];
    uint8_t in[MAX_OUTSTANDING * MAX_ADU];
    uint8_t out[MAX_OUTSTANDING * MAX_ADU];
};

static struct connection *connections;
static unsigned connection_count, outstanding, quantity, function, open_count, blocks = BLOCKS;
static bool checks_values;
static uint8_t request[MAX_ADU];
static unsigned request_size, answer_size;
static int epoll_fd;
static bool sending = true, counting;
static uint64_t busy_slots, sent, answered, counted, lost, unexpected, malformed, exceptions, closed_by_peer, max_ns;
static uint64_t histogram[64 * SUB];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }

static inline void put16(uint8_t *p, unsigned value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline unsigned bucket_of(uint64_t ns) {
    if (ns < SUB) return (unsigned)ns;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
    return (exponent - SUB_BITS + 1) * SUB + (unsigned)((ns >> (exponent - SUB_BITS)) & (SUB - 1));
}

static double bucket_us(unsigned bucket) { /* its middle */
    if (bucket < SUB) return bucket / 1e3;
    unsigned exponent = bucket / SUB + SUB_BITS - 1;
    double width = (double)(1ull << (exponent - SUB_BITS));
    return ((double)(SUB + bucket % SUB) + 0.5) * width / 1e3;
}

static double percentile_us(double share) {
    uint64_t seen = 0, wanted = (uint64_t)((double)counted * share);
    for (unsigned i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > wanted) return bucket_us(i);
    }
    return (double)max_ns / 1e3;
}

static void prepare_request(void) {
    put16(request + 2, 0);
    request[6] = UNIT;
    request[7] = (uint8_t)function;
    put16(request + 10, quantity);
    request_size = 12;
    answer_size = 9 + 2 * quantity;
    if (function == 16) {
        request[12] = (uint8_t)(2 * quantity);
        for (unsigned i = 0; i < quantity; i++) put16(request + 13 + 2 * i, 0x1000 + i);
        request_size = 13 + 2 * quantity;
        answer_size = 12;
    }
    put16(request + 4, request_size - 6);
}

static void drop(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    open_count--;
    for (unsigned i = 0; i < outstanding; i++) {
        if (!c->slots[i].busy) continue;
        c->slots[i].busy = false;
        busy_slots--;
        lost++;
    }
}

static inline void put_request(struct connection *c, struct slot *slot, uint64_t now) {
    uint8_t *p = c->out + c->out_end;
    memcpy(p, request, request_size);
    slot->tid = (uint16_t)(slot->tid + MAX_OUTSTANDING); /* the slot's number stays in the low bits */
    slot->address = (uint16_t)(c->first + c->block * BLOCK_STEP);
    slot->sent_ns = now;
    slot->busy = true;
    if (++c->block == blocks) c->block = 0;
    put16(p, slot->tid);
    put16(p + 8, slot->address);
    c->out_end += request_size;
    busy_slots++;
    sent++;
}

/* Whether another request fits; only a server that stopped reading lets `out` fill up. */
static inline bool has_room(const struct connection *c) { return c->out_end + request_size <= sizeof c->out; }

static void flush(struct connection *c) {
    while (c->out_at < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return; /* the edge of EPOLLOUT brings us back */
        if (n < 0) {
            closed_by_peer++;
            drop(c);
            return;
        }
        c->out_at += (unsigned)n;
    }
    c->out_at = c->out_end = 0;
}

static inline bool is_right(const uint8_t *p, unsigned size, const struct slot *slot) {
    if (size != answer_size || p[6] != UNIT || p[7] != function) return false;
    if (function == 16) return get16(p + 8) == slot->address && get16(p + 10) == quantity;
    if (p[8] != 2 * quantity) return false;
    for (unsigned k = 0; checks_values && k < quantity; k++)
        if (get16(p + 9 + 2 * k) != slot->address + k) return false;
    return true;
}

/* Check what arrived and put the successors of all answered requests into `out`. False: the stream is broken. */
static bool check_answers(struct connection *c, uint64_t now) {
    unsigned at = 0;
    while (c->have - at >= 9) { /* the shortest answer: an exception */
        const uint8_t *p = c->in + at;
        unsigned size = 6 + get16(p + 4);
        if (get16(p + 2) != 0 || size < 9 || size > MAX_ADU) return false;
        if (c->have - at < size) break;
        at += size;
        unsigned tid = get16(p);
        struct slot *slot = &c->slots[tid % MAX_OUTSTANDING];
        if (!slot->busy || slot->tid != tid) { /* free slots beyond `outstanding` are never busy */
            unexpected++;
            continue;
        }
        slot->busy = false;
        busy_slots--;
        answered++;
        if (is_right(p, size, slot)) {
            if (counting) {
                uint64_t ns = now - slot->sent_ns;
                histogram[bucket_of(ns)]++;
                if (ns > max_ns) max_ns = ns;
                counted++;
            }
        } else if (size == 9 && p[7] == (function | 0x80)) {
            exceptions++;
        } else {
            malformed++;
        }
        if (sending && has_room(c)) put_request(c, slot, now);
    }
    if (at) memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    return true;
}

/* Read until the socket is empty, which a short read says too unless the peer has closed. */
static void receive(struct connection *c, bool is_ending) {
    for (;;) {
        size_t room = sizeof c->in - c->have;
        ssize_t n = recv(c->fd, c->in + c->have, room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            closed_by_peer++;
            drop(c);
            return;
        }
        c->have += (unsigned)n;
        if (!check_answers(c, now_ns())) {
            malformed++;
            drop(c);
            return;
        }
        flush(c);
        if (c->fd < 0 || ((size_t)n < room && !is_ending)) return;
    }
}

/* Give up on requests older than `stall_ns` and, while sending, put new ones in their place. */
static void sweep(uint64_t now, uint64_t stall_ns) {
    for (unsigned i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        if (c->fd < 0) continue;
        for (unsigned k = 0; k < outstanding; k++) {
            struct slot *slot = &c->slots[k];
            if (slot->busy && now - slot->sent_ns > stall_ns) {
                slot->busy = false;
                busy_slots--;
                lost++;
            }
            if (!slot->busy && sending && has_room(c)) put_request(c, slot, now);
        }
        flush(c);
    }
}

static void open_connections(unsigned port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned i = 0; i < connection_count; i++) {
        struct connection *c = &connections[i];
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0) die("socket");
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->block = i * 7 % blocks;
        if (checks_values) c->first = FARM_FIRST + (blocks > 1 ? i * blocks * BLOCK_STEP : 0);
        for (unsigned k = 0; k < outstanding; k++) c->slots[k].tid = (uint16_t)k;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
        open_count++;
    }
}

static unsigned number(const char *text, unsigned low, unsigned high) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value < low || value > high) {
        fprintf(stderr, "load: %s is not within %u..%u\n", text, low, high);
        exit(2);
    }
    return (unsigned)value;
}

int main(int argc, char **argv) {
    if (argc != 9 && argc != 10) {
        fprintf(stderr, "usage: load PORT CONNECTIONS OUTSTANDING FUNCTION QUANTITY SECONDS WARMUP STALL [ADDRESSES]\n");
        return 2;
    }
    unsigned port = number(argv[1], 1, 65535);
    connection_count = number(argv[2], 1, 50000);
    outstanding = number(argv[3], 1, MAX_OUTSTANDING);
    function = number(argv[4], 3, 16);
    if (function != 3 && function != 16) return fprintf(stderr, "load: function 3 or 16\n"), 2;
    quantity = number(argv[5], 1, function == 16 ? 123 : 125);
    double seconds = atof(argv[6]);
    uint64_t warmup_ns = (uint64_t)(atof(argv[7]) * 1e9), stall_ns = (uint64_t)(atof(argv[8]) * 1e9);

    const char *addresses = argc == 10 ? argv[9] : "turn";
    checks_values = strcmp(addresses, "turn") != 0;
    if (!strcmp(addresses, "same"))
        blocks = 1;
    else if (checks_values && (strcmp(addresses, "own") || function != 3 ||
                               (blocks = (FARM_STOP - FARM_FIRST) / BLOCK_STEP / connection_count) < outstanding ||
                               quantity > BLOCK_STEP))
        return fprintf(stderr, "load: ADDRESSES turn, own (function 3, QUANTITY to 10) or same\n"), 2;

    prepare_request();
    connections = calloc(connection_count, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0) die("load");
    open_connections(port);

    uint64_t start = now_ns(), count_from = start + warmup_ns, until = count_from + (uint64_t)(seconds * 1e9);
    uint64_t next_sweep = start, began = 0, ended = 0; /* the first sweep fills all slots */
    for (;;) {
        uint64_t now = now_ns();
        if (!counting && sending && now >= count_from) {
            counting = true;
            began = now;
        }
        if (sending && (now >= until || !open_count)) {
            counting = sending = false;
            ended = now;
        }
        if (!sending && (!busy_slots || now > ended + stall_ns)) break;
        if (now >= next_sweep) {
            sweep(now, stall_ns);
            next_sweep = now + SWEEP_NS;
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, (int)(SWEEP_NS / 1000000));
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->out_end && events[i].events & EPOLLOUT) flush(c);
            if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
                receive(c, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
        }
    }
    lost += busy_slots;

    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    double counted_s = began ? (double)(ended - began) / 1e9 : 0;
    printf("{\"requests_per_s\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"seconds\": %.4f, "
           "\"counted\": %llu, \"sent\": %llu, \"answered\": %llu, \"lost\": %llu, \"unexpected\": %llu, "
           "\"malformed\": %llu, \"exceptions\": %llu, \"closed\": %llu, \"cpu_s\": %.4f, \"wall_s\": %.4f}\n",
           counted_s > 0 ? (double)counted / counted_s : 0.0, percentile_us(0.50), percentile_us(0.99), (double)max_ns / 1e3,
           counted_s, (unsigned long long)counted, (unsigned long long)sent, (unsigned long long)answered,
           (unsigned long long)lost, (unsigned long long)unexpected, (unsigned long long)malformed,
           (unsigned long long)exceptions, (unsigned long long)closed_by_peer, cpu_s, (double)(now_ns() - start) / 1e9);
    return 0;
}
