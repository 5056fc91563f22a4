/* The limit of the machine: an epoll loop that answers every request with a fixed reply of the right shape.
 *
 * No registers, no checks: what remains is the kernel's work and the least a server can do around it. What it reaches is
 * R, the 100 % that the other servers are measured against. Functions 1-4 get zeros, 5, 6, 15 and 16 their own first 12 bytes.
 *
 * usage: limit_server PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ADU 260
#define READ_SIZE 16384
#define EVENTS 256

struct connection {
    int fd;
    unsigned have; /* of a request that has not arrived completely */
    uint8_t part[MAX_ADU];
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* A reply to each whole request in `in`; returns the size of the replies and sets `used`, or -1 on nonsense. */
static int answer_all(const uint8_t *in, unsigned have, uint8_t *out, unsigned *used) {
    unsigned at = 0, end = 0;
    while (have - at >= 12) {
        const uint8_t *p = in + at;
        unsigned size = 6u + ((unsigned)p[4] << 8 | p[5]);
        if (size < 12 || size > MAX_ADU) return -1;
        if (have - at < size) break;
        uint8_t *q = out + end;
        unsigned reply_size = 12;
        memcpy(q, p, 12);
        if (p[7] <= 4) {
            unsigned quantity = ((unsigned)p[10] << 8 | p[11]), bytes = p[7] <= 2 ? (quantity + 7) / 8 : 2 * quantity;
            if (bytes > 250) return -1;
            q[8] = (uint8_t)bytes;
            memset(q + 9, 0, bytes);
            reply_size = 9 + bytes;
        }
        q[4] = (uint8_t)((reply_size - 6) >> 8);
        q[5] = (uint8_t)(reply_size - 6);
        end += reply_size;
        at += size;
    }
    *used = at;
    return (int)end;
}

/* 0: go on; -1: the connection is over. A client that does not read is cut off, as a benchmark may. */
static int serve(struct connection *c) {
    static uint8_t in[MAX_ADU + READ_SIZE], out[((MAX_ADU + READ_SIZE) / 12 + 1) * MAX_ADU];
    if (c->have) memcpy(in, c->part, c->have);
    ssize_t n = recv(c->fd, in + c->have, READ_SIZE, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) return -1;
    unsigned have = c->have + (unsigned)n, used;
    int size = answer_all(in, have, out, &used);
    if (size < 0) return -1;
    c->have = have - used;
    if (c->have) memcpy(c->part, in + used, c->have);
    if (size && send(c->fd, out, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT) != size) return -1;
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: limit_server PORT\n"), 2;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll_fd = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1024) < 0) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c) {
                if (serve(c) < 0) {
                    close(c->fd);
                    free(c);
                }
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            c = calloc(1, sizeof *c);
            if (!c) die("calloc");
            c->fd = fd;
            event.data.ptr = c;
            if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
        }
    }
}
