/* A farm of Modbus TCP devices in one process: many ports, many units, and a witness of when each was asked.
 *
 * One thread, one epoll set, one send for all answers to one read: the farm must never be what is measured (nearly all of
 * its time is the kernel's). It judges the poller from outside: arrivals are stamped as they are read.
 *
 * A device is a unit id 1..UNITS on one of PORTS ports that the kernel chooses; its number is port * UNITS + unit - 1.
 * Register a holds the value a, but register 0 counts the requests to its device, so that every poll from 0 brings
 * something new. Bit a is a odd. Functions 1-4, 5, 6, 15, 16, 22 and 23 are answered, writes as an echo (nothing is kept),
 * others with 01, other units with 0B. DELAY_US after its arrival a request is answered, however many are outstanding.
 * MOVING: register a holds a and the number of requests to its device together, so that every poll finds all registers
 * changed (functions 3 and 4).
 *
 * usage: device_farm PORTS UNITS DELAY_US [MOVING]    (MOVING: 0, the default, or 1)
 * prints {"control": PORT, "ports": [...]} when it listens, and ends on SIGTERM. On the control port, one line of JSON
 * for each line of command:
 *   begin               forget what was counted
 *   report PERIOD_US    requests since then, and lateness against a grid of that period (0: none)
 *   devices PERIOD_US   for each device: requests, polls missed, longest gap and first arrival in microseconds (-1: none)
 *   silent FIRST N 0|1  whether the devices FIRST..FIRST+N-1 leave requests unanswered
 *
 * Lateness: a device's arrivals modulo the period lie on a circle; its phase is the arrival on that circle from which the
 * others are the least late in sum, and lateness is the distance from the phase, forward. So one very late poll does not
 * pass for a grid on which all others are late, and skipped polls move nothing. A gap of more than 1.5 periods counts as
 * missed polls, from `begin` to the first and from the last to now, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_ADU 260                 /* Modbus TCP 1.0b 4.1 */
#define READ_SIZE 16384
#define EVENTS 256
#define MAX_ARRIVALS (1u << 22)     /* of one device; more are only counted */
#define EARLY_NS 20000              /* answers due so soon leave with those due now: a timer costs more */

enum kind { LISTENER, CONTROL_LISTENER, CONTROL, DEVICE, TIMER };

struct end { /* what an epoll event is about */
    enum kind kind;
    int fd;
    unsigned port;     /* which of PORTS */
    uint32_t serial;   /* of the connection: an answer that waits must not go to the next one with this memory */
    unsigned have;     /* of a request that has not arrived completely */
    uint8_t part[MAX_ADU];
    struct end *next_free;
};

struct device {
    uint64_t requests;
    uint64_t *arrivals;
    unsigned count, room;
    bool silent;
};

struct waiting {
    uint64_t due_ns;
    struct end *to;
    uint32_t serial;
    unsigned size;
    uint8_t bytes[MAX_ADU];
};

static struct device *devices;
static unsigned port_count, unit_count, device_count, connection_count;
static uint64_t delay_ns, begun_ns, strange;
static int epoll_fd, timer_fd;
static struct end *free_ends;
static struct waiting *queue; /* a ring; due times rise, for the delay is the same for all */
static unsigned queue_at, queue_size, queue_room;
static uint8_t registers[2 * 65536], bits[2000 / 8];
static bool is_moving;

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

static void close_end(struct end *e) {
    close(e->fd);
    if (e->kind == DEVICE) connection_count--;
    e->serial++;
    e->have = 0;
    e->next_free = free_ends;
    free_ends = e;
}

static void add_end(enum kind kind, int fd, unsigned port) {
    struct end *e = free_ends;
    if (e)
        free_ends = e->next_free;
    else if (!(e = calloc(1, sizeof *e)))
        die("calloc");
    e->kind = kind;
    e->fd = fd;
    e->port = port;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = e};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void record(struct device *d, uint64_t now) {
    d->requests++;
    if (d->count == d->room) {
        if (d->room >= MAX_ARRIVALS) return;
        d->room = d->room ? 2 * d->room : 64;
        if (!(d->arrivals = realloc(d->arrivals, d->room * sizeof *d->arrivals))) die("realloc");
    }
    d->arrivals[d->count++] = now;
}

/* The answer to the whole request `p`, or 0 when none is given. */
static unsigned answer(const uint8_t *p, unsigned size, unsigned port, uint64_t now, uint8_t *q) {
    unsigned unit = p[6], function = p[7], end = 12;
    memcpy(q, p, 8);
    if (unit < 1 || unit > unit_count) {
        strange++;
        q[7] |= 0x80, q[8] = 0x0B, end = 9;
    } else {
        struct device *d = &devices[port * unit_count + unit - 1];
        record(d, now);
        if (d->silent) return 0;
        if (function >= 1 && function <= 4 && size == 12) {
            unsigned address = get16(p + 8), count = get16(p + 10), most = function <= 2 ? 2000 : 125;
            if (count < 1 || count > most || address + count > 65536) {
                q[7] |= 0x80, q[8] = count < 1 || count > most ? 3 : 2, end = 9;
            } else if (function >= 3) {
                memcpy(q + 9, registers + 2 * address, 2 * count);
                if (address == 0) put16(q + 9, (unsigned)d->requests & 0xFFFF);
                for (unsigned i = 0; is_moving && i < count; i++)
                    put16(q + 9 + 2 * i, (address + i + (unsigned)d->requests) & 0xFFFF);
                q[8] = (uint8_t)(2 * count), end = 9 + 2 * count;
            } else {
                unsigned bytes = (count + 7) / 8;
                memcpy(q + 9, bits, bytes);
                if (address & 1)
                    for (unsigned i = 0; i < bytes; i++) q[9 + i] = (uint8_t)~q[9 + i];
                if (count % 8) q[8 + bytes] &= (uint8_t)((1u << count % 8) - 1);
                q[8] = (uint8_t)bytes, end = 9 + bytes;
            }
        } else if ((function == 5 || function == 6) && size == 12) {
            memcpy(q + 8, p + 8, 4);
        } else if ((function == 15 || function == 16) && size > 13 && p[12] == size - 13) {
            memcpy(q + 8, p + 8, 4);
        } else if (function == 22 && size == 14) {
            memcpy(q + 8, p + 8, 6), end = 14;
        } else if (function == 23 && size > 17 && get16(p + 10) >= 1 && get16(p + 10) <= 125 &&
                   get16(p + 8) + get16(p + 10) <= 65536) {
            unsigned count = get16(p + 10);
            memcpy(q + 9, registers + 2 * get16(p + 8), 2 * count);
            q[8] = (uint8_t)(2 * count), end = 9 + 2 * count;
        } else {
            q[7] |= 0x80, q[8] = function >= 1 && function <= 23 ? 3 : 1, end = 9;
        }
    }
    put16(q + 4, end - 6);
    return end;
}

static void arm_timer(uint64_t due_ns) {
    struct itimerspec at = {.it_value = {(time_t)(due_ns / 1000000000ull), (long)(due_ns % 1000000000ull)}};
    if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0) die("timerfd_settime");
}

static void answer_later(struct end *to, const uint8_t *bytes, unsigned size, uint64_t due_ns) {
    if (queue_size == queue_room) { /* unroll the ring into twice the room */
        unsigned room = queue_room ? 2 * queue_room : 1024;
        struct waiting *more = malloc(room * sizeof *more);
        if (!more) die("malloc");
        for (unsigned i = 0; i < queue_size; i++) more[i] = queue[(queue_at + i) % queue_room];
        free(queue);
        queue = more, queue_room = room, queue_at = 0;
    }
    struct waiting *w = &queue[(queue_at + queue_size) % queue_room];
    w->due_ns = due_ns, w->to = to, w->serial = to->serial, w->size = size;
    memcpy(w->bytes, bytes, size);
    if (queue_size++ == 0) arm_timer(due_ns);
}

static void send_due(void) {
    uint64_t expired, now = now_ns();
    while (read(timer_fd, &expired, sizeof expired) < 0 && errno == EINTR) {}
    while (queue_size && queue[queue_at].due_ns <= now + EARLY_NS) {
        struct waiting *w = &queue[queue_at];
        if (w->serial == w->to->serial &&
            send(w->to->fd, w->bytes, w->size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)w->size)
            shutdown(w->to->fd, SHUT_RDWR); /* closed when its event comes: one may be in this batch already */
        queue_at = (queue_at + 1) % queue_room;
        queue_size--;
    }
    if (queue_size) arm_timer(queue[queue_at].due_ns);
}

/* A client that does not read, or talks nonsense, is cut off. */
static void serve(struct end *e) {
    static uint8_t in[MAX_ADU + READ_SIZE], out[((MAX_ADU + READ_SIZE) / 8 + 1) * MAX_ADU];
    memcpy(in, e->part, e->have);
    ssize_t n = recv(e->fd, in + e->have, READ_SIZE, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        close_end(e);
        return;
    }
    uint64_t now = now_ns();
    unsigned have = e->have + (unsigned)n, at = 0, end = 0;
    while (have - at >= 8) {
        unsigned size = 6 + get16(in + at + 4);
        if (get16(in + at + 2) != 0 || size < 8 || size > MAX_ADU) {
            strange++;
            close_end(e);
            return;
        }
        if (have - at < size) break;
        unsigned got = answer(in + at, size, e->port, now, out + end);
        at += size;
        if (got && delay_ns)
            answer_later(e, out + end, got, now + delay_ns);
        else
            end += got;
    }
    e->have = have - at;
    memcpy(e->part, in + at, e->have);
    if (end && send(e->fd, out, end, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)end) close_end(e);
}

/* ---------------------------------------------------------------- the witness */

static char *text;
static size_t text_size, text_room;

static void say(const char *format, ...) {
    for (;;) {
        va_list arguments;
        va_start(arguments, format);
        int n = vsnprintf(text + text_size, text_room - text_size, format, arguments);
        va_end(arguments);
        if (n >= 0 && (size_t)n < text_room - text_size) {
            text_size += (size_t)n;
            return;
        }
        text_room = 2 * text_room + 4096;
        if (!(text = realloc(text, text_room))) die("realloc");
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The lateness of each arrival of `d` into `into`, in no order. */
static void lateness(const struct device *d, uint64_t period, uint64_t *into) {
    unsigned n = d->count;
    if (!n) return;
    for (unsigned i = 0; i < n; i++) into[i] = (d->arrivals[i] - begun_ns) % period;
    qsort(into, n, sizeof *into, by_value);
    /* The sum for phase into[j] is that for into[0], less n * (into[j] - into[0]), and a period more for those before j. */
    double least = 0;
    unsigned best = 0;
    for (unsigned j = 1; j < n; j++) {
        double sum = (double)period * j - (double)n * (double)(into[j] - into[0]);
        if (sum < least) least = sum, best = j;
    }
    uint64_t phase = into[best];
    for (unsigned i = 0; i < n; i++) into[i] = (into[i] + period - phase) % period;
}

static uint64_t longest_gap(const struct device *d, uint64_t now, uint64_t period, uint64_t *missed) {
    uint64_t before = begun_ns, longest = 0;
    *missed = 0;
    for (unsigned i = 0; i <= d->count; i++) {
        uint64_t at = i < d->count ? d->arrivals[i] : now, gap = at > before ? at - before : 0;
        if (gap > longest) longest = gap;
        if (period && gap > period + period / 2) *missed += (gap + period / 2) / period - 1;
        before = at;
    }
    return longest;
}

static double at_share(const uint64_t *sorted, uint64_t n, double share) {
    uint64_t i = (uint64_t)((double)n * share);
    return n ? (double)sorted[i < n ? i : n - 1] / 1e3 : 0;
}

static void report(uint64_t period) {
    uint64_t now = now_ns(), requests = 0, least = UINT64_MAX, most = 0, missed = 0, longest = 0, n = 0;
    unsigned devices_asked = 0;
    for (unsigned i = 0; i < device_count; i++) {
        uint64_t here, gap = longest_gap(&devices[i], now, period, &here);
        requests += devices[i].requests, missed += here, n += devices[i].count;
        devices_asked += devices[i].requests > 0;
        if (gap > longest) longest = gap;
        if (devices[i].requests < least) least = devices[i].requests;
        if (devices[i].requests > most) most = devices[i].requests;
    }
    uint64_t *late = malloc((n + 1) * sizeof *late), at = 0;
    if (!late) die("malloc");
    if (period) {
        for (unsigned i = 0; i < device_count; at += devices[i++].count) lateness(&devices[i], period, late + at);
        qsort(late, n, sizeof *late, by_value);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    say("{\"seconds\": %.6f, \"requests\": %llu, \"devices_asked\": %u, \"least\": %llu, \"most\": %llu, "
        "\"connections\": %u, \"strange\": %llu, \"missed\": %llu, \"longest_gap_us\": %.1f, \"cpu_s\": %.4f",
        (double)(now - begun_ns) / 1e9, (unsigned long long)requests, devices_asked, (unsigned long long)least,
        (unsigned long long)most, connection_count, (unsigned long long)strange, (unsigned long long)missed,
        (double)longest / 1e3,
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    if (period)
        say(", \"late_p50_us\": %.1f, \"late_p99_us\": %.1f, \"late_p999_us\": %.1f, \"late_max_us\": %.1f",
            at_share(late, n, 0.5), at_share(late, n, 0.99), at_share(late, n, 0.999), at_share(late, n, 1));
    say("}\n");
    free(late);
}

static void report_devices(uint64_t period) {
    uint64_t now = now_ns();
    say("[");
    for (unsigned i = 0; i < device_count; i++) {
        uint64_t missed, gap = longest_gap(&devices[i], now, period, &missed);
        say("%s[%llu, %llu, %llu, %lld]", i ? ", " : "", (unsigned long long)devices[i].requests,
            (unsigned long long)missed, (unsigned long long)(gap / 1000),
            devices[i].count ? (long long)(devices[i].arrivals[0] - begun_ns) / 1000 : -1);
    }
    say("]\n");
}

static void obey(const char *command) {
    unsigned first, count, on;
    unsigned long period_us;
    if (!strcmp(command, "begin")) {
        for (unsigned i = 0; i < device_count; i++) devices[i].requests = 0, devices[i].count = 0;
        strange = 0;
        begun_ns = now_ns();
        say("{}\n");
    } else if (sscanf(command, "report %lu", &period_us) == 1) {
        report(period_us * 1000ull);
    } else if (sscanf(command, "devices %lu", &period_us) == 1) {
        report_devices(period_us * 1000ull);
    } else if (sscanf(command, "silent %u %u %u", &first, &count, &on) == 3 && first <= device_count &&
               count <= device_count - first) {
        for (unsigned i = first; i < first + count; i++) devices[i].silent = on;
        say("{}\n");
    } else {
        say("{\"error\": \"not understood\"}\n");
    }
}

/* One command at a time: the benchmark waits for each answer, so a line comes whole. */
static void control(struct end *e) {
    char line[128];
    ssize_t n = recv(e->fd, line, sizeof line - 1, 0);
    if (n <= 0) {
        close_end(e);
        return;
    }
    line[n] = 0;
    line[strcspn(line, "\r\n")] = 0;
    text_size = 0;
    obey(line);
    for (size_t at = 0; at < text_size;) { /* blocking: the benchmark reads */
        ssize_t sent = send(e->fd, text + at, text_size - at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) {
            close_end(e);
            return;
        }
        at += (size_t)sent;
    }
}

/* ---------------------------------------------------------------- */

static unsigned listen_anywhere(enum kind kind, unsigned port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1024) < 0) die("listen");
    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0) die("getsockname");
    add_end(kind, fd, port);
    return ntohs(at.sin_port);
}

static void accept_one(const struct end *listener) {
    int one = 1, fd = accept(listener->fd, NULL, NULL);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die("accept");
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (listener->kind == LISTENER) connection_count++;
    add_end(listener->kind == LISTENER ? DEVICE : CONTROL, fd, listener->port);
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 5) return fprintf(stderr, "usage: device_farm PORTS UNITS DELAY_US [MOVING]\n"), 2;
    is_moving = argc == 5 && atoi(argv[4]);
    port_count = (unsigned)atoi(argv[1]), unit_count = (unsigned)atoi(argv[2]);
    delay_ns = (uint64_t)atoll(argv[3]) * 1000;
    if (port_count < 1 || port_count > 20000 || unit_count < 1 || unit_count > 247)
        return fprintf(stderr, "device_farm: PORTS 1..20000, UNITS 1..247\n"), 2;
    device_count = port_count * unit_count;
    devices = calloc(device_count, sizeof *devices);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (!devices || epoll_fd < 0 || timer_fd < 0) die("device_farm");
    for (unsigned a = 0; a < sizeof registers / 2; a++) put16(registers + 2 * a, a & 0xFFFF);
    memset(bits, 0xAA, sizeof bits); /* bit 1, 3, 5 and 7 of each byte: the odd addresses */
    add_end(TIMER, timer_fd, 0);
    printf("{\"control\": %u, \"ports\": [", listen_anywhere(CONTROL_LISTENER, 0));
    for (unsigned i = 0; i < port_count; i++) printf("%s%u", i ? ", " : "", listen_anywhere(LISTENER, i));
    printf("]}\n");
    fflush(stdout);
    begun_ns = now_ns();
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;
            switch (e->kind) {
            case LISTENER:
            case CONTROL_LISTENER: accept_one(e); break;
            case CONTROL: control(e); break;
            case DEVICE: serve(e); break;
            case TIMER: send_due(); break;
            }
        }
    }
}
