/* One client that floods, in one of several ways, until it is killed or SECONDS have passed. It checks nothing.
 *
 *   reads     function 3, 125 registers, as many as the socket takes; answers are fetched and forgotten
 *   writes    function 16, 123 registers, the same
 *   deaf      as reads, but it never fetches an answer
 *   connects  connects, asks once, hangs up with a reset before the answer, again and again
 *   broken    connects, sends what is no Modbus, waits to be closed, again and again
 *
 * usage: flood WAY PORT UNIT SECONDS        prints {"done": REQUESTS or CONNECTIONS}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define WRITE_SIZE (13 + 246)

static struct sockaddr_in to = {.sin_family = AF_INET};

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_connection(void) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void hang_up(int fd) {
    struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: flood WAY PORT UNIT SECONDS\n"), 2;
    const char *way = argv[1];
    bool writes = !strcmp(way, "writes"), deaf = !strcmp(way, "deaf"), connects = !strcmp(way, "connects");
    bool broken = !strcmp(way, "broken");
    to.sin_port = htons((uint16_t)atoi(argv[2]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    double until = now_s() + atof(argv[4]);
    uint8_t request[WRITE_SIZE] = {0, 1, 0, 0, 0, 6, (uint8_t)atoi(argv[3]), 3, 0, 0, 0, 125};
    size_t size = 12, answer_size = 9 + 250;
    if (writes) {
        static const uint8_t head[] = {16, 0xF0, 0, 0, 123, 246}; /* where the others have nothing */
        memcpy(request + 7, head, sizeof head);
        request[4] = (WRITE_SIZE - 6) >> 8, request[5] = (WRITE_SIZE - 6) & 0xFF;
        size = WRITE_SIZE, answer_size = 12;
    }
    unsigned long long done = 0;
    static uint8_t out[BATCH * WRITE_SIZE], in[1 << 16];
    for (size_t i = 0; i < BATCH; i++) memcpy(out + i * size, request, size);

    while (now_s() < until) {
        int fd = open_connection();
        if (fd < 0) {
            usleep(1000);
            continue;
        }
        if (connects || broken) {
            struct timeval patience = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            if (broken) memset(in, 0xA5, 64);
            if (send(fd, broken ? in : request, broken ? 64 : 12, MSG_NOSIGNAL) > 0 && broken)
                while (recv(fd, in, sizeof in, 0) > 0) continue;
            hang_up(fd);
            done++;
            continue;
        }
        size_t at = 0;
        unsigned long long got = 0;
        while (now_s() < until) {
            struct pollfd what = {fd, POLLOUT | (deaf ? 0 : POLLIN), 0};
            if (poll(&what, 1, 100) < 0 && errno != EINTR) break;
            if (what.revents & (POLLERR | POLLHUP)) break;
            if (what.revents & POLLIN) {
                ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN)) break;
                if (n > 0) got += (unsigned long long)n;
            }
            if (what.revents & POLLOUT) {
                ssize_t n = send(fd, out + at, BATCH * size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno != EAGAIN) break;
                if (n > 0) at = (at + (size_t)n) % (BATCH * size);
            }
        }
        done += got / answer_size;
        hang_up(fd);
    }
    printf("{\"done\": %llu}\n", done);
    return 0;
}
