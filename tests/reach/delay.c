/*
 * A line with a delay: joins two TAP devices, each in a network namespace, and passes every frame on after that time.
 *
 *     delay NAMESPACE INTERFACE NAMESPACE INTERFACE MILLISECONDS
 *
 * The namespaces are given by their paths. It says "ready" when the interfaces are there, and ends with its input.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND 1000000LL
#define SECOND (1000 * MILLISECOND)
/* Longer than a frame of Ethernet. */
#define LONGEST 2048
/* How many frames a direction holds. More are lost, as in a router. */
#define HELD 1024

struct frame {
    long long due;
    ssize_t length;
    char bytes[LONGEST];
};

struct queue {
    struct frame frames[HELD];
    unsigned first, count;
};

/* What has come from each end, and is on its way to the other. */
static struct queue queues[2];

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* A TAP device belongs to the namespace in which it was opened. */
static int tap(const char *namespace, const char *name) {
    int place = open(namespace, O_RDONLY | O_CLOEXEC);
    if (place < 0 || setns(place, CLONE_NEWNET) < 0) fail(namespace);
    close(place);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0) fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(device, TUNSETIFF, &request) < 0) fail(name);
    return device;
}

/* Takes what has come, as much as a direction holds. */
static void take(struct queue *queue, int from, long long delay) {
    for (int taken = 0; taken < HELD; taken++) {
        static char lost[LONGEST];
        struct frame *frame = &queue->frames[(queue->first + queue->count) % HELD];
        int full = queue->count == HELD;
        ssize_t length = read(from, full ? lost : frame->bytes, LONGEST);
        if (length <= 0) return;
        if (full) continue;
        frame->length = length;
        frame->due = now() + delay;
        queue->count++;
    }
}

/* Passes on what is due. What an interface that is down does not take is lost. */
static void pass(struct queue *queue, int to) {
    while (queue->count > 0 && queue->frames[queue->first].due <= now()) {
        struct frame *frame = &queue->frames[queue->first];
        if (write(to, frame->bytes, frame->length) < 0 && errno == EINTR) continue;
        queue->first = (queue->first + 1) % HELD;
        queue->count--;
    }
}

int main(int count, char **arguments) {
    if (count != 6) {
        fprintf(stderr, "delay NAMESPACE INTERFACE NAMESPACE INTERFACE MILLISECONDS\n");
        return 2;
    }
    int ends[2] = {tap(arguments[1], arguments[2]), tap(arguments[3], arguments[4])};
    long long delay = atoll(arguments[5]) * MILLISECOND;
    puts("ready");
    fflush(stdout);
    for (;;) {
        long long due = now() + SECOND;
        for (int end = 0; end < 2; end++) {
            struct queue *queue = &queues[end];
            if (queue->count > 0 && queue->frames[queue->first].due < due) due = queue->frames[queue->first].due;
        }
        long long left = due - now();
        if (left < 0) left = 0;
        struct timespec timeout = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
        struct pollfd polled[3] = {{0, POLLIN, 0}, {ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
        if (ppoll(polled, 3, &timeout, NULL) < 0 && errno != EINTR) fail("poll");
        if (polled[0].revents) return 0;
        for (int end = 0; end < 2; end++) {
            take(&queues[end], ends[end], delay);
            pass(&queues[end], ends[!end]);
        }
    }
}
