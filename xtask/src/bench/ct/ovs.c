// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Measures the connection tracker of Open vSwitch's userspace datapath as the example `ct_bench` of
 * adit-conntrack measures ours: the same packets in the same order, in bursts of 32, whose checksums
 * are known to be valid. Linked with libopenvswitch.a.
 *
 *   ovs_conntrack CONNECTIONS LOOKUPS INSERTS
 *
 * The table is filled until INSERTS connections were inserted, once at least. Prints a JSON object;
 * times are those of one operation of one thread.
 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conntrack.h"
#include "dp-packet.h"
#include "fatal-signal.h"
#include "ovs-rcu.h"
#include "packets.h"
#include "timeval.h"

#define BURST 32
#define ETHERNET 14
#define LENGTH (ETHERNET + 28)
/* Nothing expires while it is measured: the connections' packets come an hour later than the clock
 * of the thread that removes them says. */
#define LATER_MS (3600 * 1000)

static struct dp_packet *packets[BURST];
static struct conntrack *ct;
static long long now;

struct each {
    double wall, processor;
};

static double
seconds(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Makes the packets of a burst, whose flows are set later. */
static void
make_packets(void)
{
    static const uint8_t headers[LENGTH] = {
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
        0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 192, 0, 2, 1,
        4, 0, 0, 53, 0, 8, 0, 0,
    };

    for (int i = 0; i < BURST; i++) {
        struct dp_packet *packet = dp_packet_new(LENGTH);

        dp_packet_put(packet, headers, LENGTH);
        dp_packet_reset_offsets(packet);
        dp_packet_set_l3(packet, (char *) dp_packet_data(packet) + ETHERNET);
        dp_packet_set_l4(packet, (char *) dp_packet_data(packet) + ETHERNET + 20);
        *dp_packet_ol_flags_ptr(packet) |= DP_PACKET_OL_RX_IP_CKSUM_GOOD
                                           | DP_PACKET_OL_RX_L4_CKSUM_GOOD;
        packets[i] = packet;
    }
}

static void
set_flow(struct dp_packet *packet, uint32_t flow)
{
    uint8_t *ip = (uint8_t *) dp_packet_data(packet) + ETHERNET;
    uint32_t source = 0x0a000000 | flow >> 8;
    uint16_t port = 1024 + (flow & 0xff);

    for (int i = 0; i < 4; i++) {
        ip[12 + i] = source >> (24 - 8 * i);
    }
    ip[20] = port >> 8;
    ip[21] = port;
    /* As the datapath does for each packet that it receives. */
    pkt_metadata_init(&packet->md, 1);
}

/* Passes `count` packets of some flows, and checks that each has the state `wanted`. */
static void
pass(const uint32_t *flows, int count, bool commit, uint8_t wanted)
{
    struct dp_packet_batch batch;

    dp_packet_batch_init(&batch);
    for (int i = 0; i < count; i++) {
        set_flow(packets[i], flows[i]);
        dp_packet_batch_add(&batch, packets[i]);
    }
    conntrack_execute(ct, &batch, htons(0x0800), false, commit, 0, NULL, NULL, 0, 0, NULL, NULL,
                      now, 0);
    for (int i = 0; i < count; i++) {
        if (packets[i]->md.ct_state != wanted) {
            fprintf(stderr, "flow %"PRIu32" has the state %#x, not %#x\n", flows[i],
                    packets[i]->md.ct_state, wanted);
            exit(1);
        }
    }
}

static void
fill(uint32_t connections)
{
    uint32_t flows[BURST];
    uint32_t flow = 0;

    while (flow < connections) {
        int count = 0;

        while (count < BURST && flow < connections) {
            flows[count++] = flow++;
        }
        pass(flows, count, true, 0x21);
    }
}

/* Random connections, in the order of `shuffled` in the example. */
static void
look_up(uint32_t connections, uint32_t lookups)
{
    uint32_t state = 0x9e3779b9 ^ 0x85ebca6b;
    uint32_t flows[BURST];

    for (uint32_t done = 0; done < lookups; done += BURST) {
        for (int i = 0; i < BURST; i++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            flows[i] = (uint64_t) state * connections >> 32;
        }
        pass(flows, BURST, false, 0x21);
        if (done % (1024 * BURST) == 0) {
            ovsrcu_quiesce();
        }
    }
}

/* Checks that all connections are in the table, and no other ones. */
static void
check_count(uint32_t connections)
{
    uint32_t found = 0;

    conntrack_get_nconns(ct, &found);
    if (found != connections) {
        fprintf(stderr, "%"PRIu32" connections are there, not %"PRIu32"\n", found, connections);
        exit(1);
    }
}

static void
print(const char *name, struct each begin, struct each end, double operations)
{
    printf(",\"%s_ns\":%.0f,\"%s_processor_ns\":%.0f", name,
           (end.wall - begin.wall) * 1e9 / operations, name,
           (end.processor - begin.processor) * 1e9 / operations);
}

static struct each
clocks(void)
{
    return (struct each) { seconds(CLOCK_MONOTONIC), seconds(CLOCK_THREAD_CPUTIME_ID) };
}

static double
resident(void)
{
    long pages = 0, all;
    FILE *file = fopen("/proc/self/statm", "r");

    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return (double) pages * sysconf(_SC_PAGESIZE);
}

int
main(int argc, char *argv[])
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s CONNECTIONS LOOKUPS INSERTS\n", argv[0]);
        return 2;
    }

    uint32_t connections = strtoul(argv[1], NULL, 10);
    uint32_t lookups = strtoul(argv[2], NULL, 10);
    uint32_t inserts = strtoul(argv[3], NULL, 10);
    uint32_t rounds = inserts / connections + (inserts % connections != 0);

    fatal_signal_init();
    ct = conntrack_init();
    conntrack_set_maxconns(ct, connections + 1);
    now = time_msec() + LATER_MS;
    make_packets();
    double before = resident();
    struct each insert = { 0, 0 };
    double bytes = 0;

    rounds = rounds ? rounds : 1;
    for (uint32_t round = 0; round < rounds; round++) {
        conntrack_flush(ct, NULL);
        ovsrcu_quiesce();
        struct each begin = clocks();
        fill(connections);
        struct each end = clocks();
        insert.wall += end.wall - begin.wall;
        insert.processor += end.processor - begin.processor;
        check_count(connections);
        bytes = round ? bytes : (resident() - before) / connections;
    }
    struct each begin = clocks();
    look_up(connections, lookups);
    struct each end = clocks();
    check_count(connections);

    printf("{\"connections\":%"PRIu32",\"bytes_per_connection\":%.1f", connections, bytes);
    print("insert_burst", (struct each) { 0, 0 }, insert, (double) connections * rounds);
    print("track_burst", begin, end, lookups);
    printf("}\n");
    return 0;
}
