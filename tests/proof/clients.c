/* The clients of the load and fairness proofs: many, at a pace or as fast as answers come, every value checked.
 *
 * One thread, one epoll set, one request outstanding on each connection. Each connection owns AREA holding registers and
 * COILS coils of one unit; it writes what it wants and must read exactly that back, however the other clients write
 * beside it: a register or coil that has not what its owner wrote last is wrong, and so is a block of which only a part
 * was written. Mix: three reads of its own (03, 01), two writes (16, 06, 15), one read of another's block, whose registers
 * must all be of one write.
 *
 * Time: with a pace, a request is due at fixed times; when the answer before it came late, its latency counts from when
 * it was due, so a server that stands still is charged for all that had to wait (no coordinated omission). The client's
 * own lateness is not the server's: an idle connection's request counts from when it was sent.
 *
 * usage: clients PORT UNIT CONNECTIONS RATE SECONDS WARMUP STALL      (RATE: requests per second and connection; 0: no pause)
 * prints one line of JSON.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 40                 /* registers of one FC16: all of them n, n+1, n+2 ... */
#define SINGLE 41                /* the register that FC06 writes */
#define AREA 60
#define COILS 16
#define MAX_ADU 260
#define SUB_BITS 6               /* 64 buckets per power of two: a percentile is right to 1.6 % */
#define SUB (1u << SUB_BITS)
#define EVENTS 256

enum what { READ_BLOCK, READ_SINGLE, READ_COILS, WRITE_BLOCK, WRITE_SINGLE, WRITE_COILS, READ_OTHER, KINDS };
static const char *const names[KINDS] = {"03 block", "03 single", "01 coils", "16 block", "06 single", "15 coils", "03 other"};

struct connection {
    int fd;
    unsigned number;
    bool busy;
    enum what what;
    uint16_t tid, block, single, coils;   /* what it wrote last */
    uint16_t new_value;                   /* what it is writing */
    unsigned other;
    bool knows[KINDS];                    /* by the kind that writes: whether it has written */
    uint64_t due_ns, since_ns;
    unsigned have, out_at, out_end;
    uint8_t in[2 * MAX_ADU], out[MAX_ADU];
};

static struct connection *connections;
static unsigned count, unit;
static uint64_t interval_ns, histogram[64 * SUB], max_ns, counted, answered, sent, wrong, exceptions, lost, closed_by_peer;
static uint64_t by_kind[KINDS], exception_codes[256];
static char first_wrong[200];
static bool sending = true, counting;
static uint64_t count_from;
static int epoll_fd;
static uint64_t rng = 88172645463325252ull;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t chance(void) {
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}

static void die(const char *what) {
    perror(what);
    exit(1);
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

static double percentile_ms(double share) {
    uint64_t seen = 0, wanted = (uint64_t)((double)counted * share);
    for (unsigned i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > wanted) {
            if (i < SUB) return i / 1e6;
            unsigned exponent = i / SUB + SUB_BITS - 1;
            return ((double)(SUB + i % SUB) + 0.5) * (double)(1ull << (exponent - SUB_BITS)) / 1e6;
        }
    }
    return (double)max_ns / 1e6;
}

static void complain(const struct connection *c, const char *what, unsigned found, unsigned expected) {
    wrong++;
    if (!*first_wrong)
        snprintf(first_wrong, sizeof first_wrong, "client %u, %s: %s %u instead of %u", c->number, names[c->what], what, found,
                 expected);
}

static void drop(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    closed_by_peer++;
    if (c->busy) lost++;
    c->busy = false;
}

static void flush(struct connection *c) {
    while (c->out_at < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) {
            drop(c);
            return;
        }
        c->out_at += (unsigned)n;
    }
}

static void ask(struct connection *c, uint64_t since_ns) {
    static const enum what mix[] = {READ_BLOCK, READ_BLOCK, READ_SINGLE, READ_COILS, WRITE_BLOCK, WRITE_SINGLE, WRITE_COILS,
                                    WRITE_BLOCK, READ_OTHER, READ_OTHER};
    enum what what = mix[chance() % (sizeof mix / sizeof *mix)];
    unsigned first = c->number * AREA, size = 12;
    uint8_t *p = c->out;
    c->what = what;
    c->new_value = (uint16_t)chance();
    put16(p, ++c->tid);
    put16(p + 2, 0);
    p[6] = (uint8_t)unit;
    switch (what) {
    case READ_OTHER:
        c->other = (unsigned)(chance() % count);
        p[7] = 3, put16(p + 8, c->other * AREA), put16(p + 10, BLOCK);
        break;
    case READ_BLOCK:
        p[7] = 3, put16(p + 8, first), put16(p + 10, BLOCK);
        break;
    case READ_SINGLE:
        p[7] = 3, put16(p + 8, first + SINGLE), put16(p + 10, 1);
        break;
    case READ_COILS:
        p[7] = 1, put16(p + 8, c->number * COILS), put16(p + 10, COILS);
        break;
    case WRITE_SINGLE:
        p[7] = 6, put16(p + 8, first + SINGLE), put16(p + 10, c->new_value);
        break;
    case WRITE_COILS:
        p[7] = 15, put16(p + 8, c->number * COILS), put16(p + 10, COILS), p[12] = 2, put16(p + 13, c->new_value);
        size = 15;
        break;
    default:
        p[7] = 16, put16(p + 8, first), put16(p + 10, BLOCK), p[12] = 2 * BLOCK;
        for (unsigned i = 0; i < BLOCK; i++) put16(p + 13 + 2 * i, (c->new_value + i) & 0xFFFF);
        size = 13 + 2 * BLOCK;
    }
    put16(p + 4, size - 6);
    c->out_at = 0;
    c->out_end = size;
    c->busy = true;
    c->since_ns = since_ns;
    sent++;
    by_kind[what]++;
    flush(c);
}

static void check(struct connection *c, const uint8_t *p, unsigned size) {
    if (get16(p) != c->tid || p[6] != unit) {
        complain(c, "header of another answer", get16(p), c->tid);
        return;
    }
    if (p[7] & 0x80) {
        exceptions++;
        exception_codes[p[8]]++;
        return;
    }
    if (p[7] != c->out[7]) {
        complain(c, "function", p[7], c->out[7]);
        return;
    }
    switch (c->what) {
    case READ_OTHER:
    case READ_BLOCK: {
        unsigned first = get16(p + 9);
        if (size != 9 + 2 * BLOCK) {
            complain(c, "size", size, 9 + 2 * BLOCK);
            return;
        }
        bool is_fresh = first == 0 && get16(p + 11) == 0; /* nobody has written it yet */
        for (unsigned i = 1; i < BLOCK; i++)
            if (get16(p + 9 + 2 * i) != (is_fresh ? 0 : ((first + i) & 0xFFFF))) {
                complain(c, "a torn block, register", get16(p + 9 + 2 * i), (first + i) & 0xFFFF);
                return;
            }
        if (c->what == READ_BLOCK && c->knows[WRITE_BLOCK] && first != c->block) complain(c, "block", first, c->block);
        break;
    }
    case READ_SINGLE:
        if (size != 11 || (c->knows[WRITE_SINGLE] && get16(p + 9) != c->single)) complain(c, "register", get16(p + 9), c->single);
        break;
    case READ_COILS:
        if (size != 11 || (c->knows[WRITE_COILS] && get16(p + 9) != c->coils)) complain(c, "coils", get16(p + 9), c->coils);
        break;
    default:
        if (size != 12 || memcmp(p + 8, c->out + 8, 4)) complain(c, "echo", get16(p + 8), get16(c->out + 8));
        c->knows[c->what] = true;
        if (c->what == WRITE_BLOCK) c->block = c->new_value;
        if (c->what == WRITE_SINGLE) c->single = c->new_value;
        if (c->what == WRITE_COILS) c->coils = c->new_value;
    }
}

static void receive(struct connection *c) {
    ssize_t n = recv(c->fd, c->in + c->have, sizeof c->in - c->have, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
        drop(c);
        return;
    }
    c->have += (unsigned)n;
    if (c->have < 9) return;
    unsigned size = 6 + get16(c->in + 4);
    if (size < 9 || size > MAX_ADU) {
        complain(c, "length", size - 6, 0);
        drop(c);
        return;
    }
    if (c->have < size) return;
    uint64_t now = now_ns();
    if (!c->busy) {
        complain(c, "an answer nobody asked for", get16(c->in), c->tid);
    } else {
        c->busy = false;
        answered++;
        check(c, c->in, size);
        if (counting && c->since_ns >= count_from) {
            uint64_t ns = now - c->since_ns;
            histogram[bucket_of(ns)]++;
            if (ns > max_ns) max_ns = ns;
            counted++;
        }
    }
    c->have -= size;
    memmove(c->in, c->in + size, c->have);
    if (!sending) return;
    if (!interval_ns) {
        ask(c, now);
    } else {
        c->due_ns += interval_ns;
        if (c->due_ns <= now) ask(c, c->due_ns);
    }
}

int main(int argc, char **argv) {
    if (argc != 8) return fprintf(stderr, "usage: clients PORT UNIT CONNECTIONS RATE SECONDS WARMUP STALL\n"), 2;
    unsigned port = (unsigned)atoi(argv[1]);
    unit = (unsigned)atoi(argv[2]);
    count = (unsigned)atoi(argv[3]);
    double rate = atof(argv[4]), seconds = atof(argv[5]), warmup = atof(argv[6]);
    uint64_t stall_ns = (uint64_t)(atof(argv[7]) * 1e9);
    if (count < 1 || count > 65536 / AREA) return fprintf(stderr, "clients: 1..%d connections\n", 65536 / AREA), 2;
    interval_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    connections = calloc(count, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0) die("clients");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        int one = 1;
        c->number = i;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0) die("socket");
        if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    }
    uint64_t start = now_ns();
    count_from = start + (uint64_t)(warmup * 1e9);
    uint64_t until = count_from + (uint64_t)(seconds * 1e9);
    uint64_t ended = 0, next_look = 0, open_count = count;
    for (unsigned i = 0; i < count; i++) { /* phases spread */
        connections[i].due_ns = start + (interval_ns ? interval_ns * i / count : 0);
        if (!interval_ns) ask(&connections[i], start);
    }
    for (;;) {
        uint64_t now = now_ns();
        if (!counting && sending && now >= count_from) counting = true;
        if (sending && (now >= until || !open_count)) counting = sending = false, ended = now;
        bool is_busy = false;
        if (now >= next_look) { /* every half millisecond: who is due, who waits for ever */
            next_look = now + 500000;
            open_count = 0;
            for (unsigned i = 0; i < count; i++) {
                struct connection *c = &connections[i];
                if (c->fd < 0) continue;
                open_count++;
                if (c->busy && now - c->since_ns > stall_ns) drop(c);
                if (c->fd >= 0 && c->out_at < c->out_end) flush(c);
                if (c->fd >= 0 && sending && interval_ns && !c->busy && c->due_ns <= now) ask(c, now);
                is_busy |= c->busy;
            }
            if (!sending && (!is_busy || now > ended + stall_ns)) break;
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, 1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0) receive(c);
        }
    }
    for (unsigned i = 0; i < count; i++) lost += connections[i].busy;
    unsigned code = 0;
    for (unsigned i = 0; i < 256; i++)
        if (exception_codes[i] > exception_codes[code]) code = i;
    printf("{\"requests_per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, \"sent\": %llu, "
           "\"answered\": %llu, \"reads\": %llu, \"writes\": %llu, \"wrong\": %llu, \"exceptions\": %llu, \"code\": %u, "
           "\"lost\": %llu, \"closed\": %llu, \"first_wrong\": \"%s\"}\n",
           (double)counted / seconds, percentile_ms(0.5), percentile_ms(0.99), percentile_ms(0.999), (double)max_ns / 1e6,
           (unsigned long long)sent, (unsigned long long)answered,
           (unsigned long long)(by_kind[READ_BLOCK] + by_kind[READ_SINGLE] + by_kind[READ_COILS] + by_kind[READ_OTHER]),
           (unsigned long long)(by_kind[WRITE_BLOCK] + by_kind[WRITE_SINGLE] + by_kind[WRITE_COILS]),
           (unsigned long long)wrong, (unsigned long long)exceptions, code, (unsigned long long)lost,
           (unsigned long long)closed_by_peer, first_wrong);
    return 0;
}
