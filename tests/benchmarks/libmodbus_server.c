/* The peer L: libmodbus's server as its users write it, one modbus_receive and one modbus_reply per request.
 *
 * The loop around it is epoll, not the usual select, so that the loop is not what is measured; level-triggered, because
 * modbus_receive takes one request and leaves the rest in the socket. No-delay is left off, as libmodbus leaves it on
 * accepted sockets: Nagle's algorithm gathers its pipelined replies (10x16: 120-150k requests/s against 85-93k with
 * no-delay) and costs nothing at one outstanding. Emptying a socket before the next one was tried: slower in both.
 * modbus_receive itself calls select on its socket: descriptors from 1024 on are refused here.
 *
 * usage: libmodbus_server PORT
 */
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

static void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: libmodbus_server PORT\n"), 2;
    modbus_t *context = modbus_new_tcp("127.0.0.1", atoi(argv[1]));
    modbus_mapping_t *mapping = modbus_mapping_new(2000, 2000, 1000, 1000);
    if (!context || !mapping) die("modbus_new_tcp");
    int listener = modbus_tcp_listen(context, 1024), epoll_fd = epoll_create1(0);
    if (listener < 0) die("modbus_tcp_listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS];
        uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd < 0) continue;
                if (fd >= FD_SETSIZE) {
                    close(fd);
                    continue;
                }
                event.data.fd = fd;
                if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
                continue;
            }
            modbus_set_socket(context, fd);
            int size = modbus_receive(context, request);
            if (size < 0 || (size > 0 && modbus_reply(context, request, size, mapping) < 0)) close(fd);
        }
    }
}
