// SPDX-License-Identifier: Apache-2.0 OR MIT
// The classifier from layer 4 to 7: receive queues and names of flows that reach a pod. A part of
// NodeControl.

action to_queue(bit<16> queue) {
    set_queue(queue);
}
action to_flow(FlowId_t flow_id) {
    set_flow_id(flow_id);
}
action classify(bit<16> queue, FlowId_t flow_id) {
    set_queue(queue);
    set_flow_id(flow_id);
}

// QUIC connections by their id, which stays while addresses and ports change.
table quic {
    key = {
        m.port: exact @name("port");
        // In two parts, as many tools have no numbers of more than 128 bits.
        m.quic.id[159:32]: exact @name("quic_id");
        m.quic.id[31:0]: exact @name("quic_id_end");
        m.quic.id_len: exact @name("quic_id_len");
    }
    actions = { to_queue; to_flow; classify; @defaultonly NoAction; }
    const default_action = NoAction();
    pna_direct_counter = quic_connections;
    size = 262144;
}
// Flows with the addresses and ports that the pod sees.
table flows {
    key = {
        m.port: exact @name("port");
        m.from: exact @name("src");
        m.to: exact @name("dst");
        m.protocol: exact @name("protocol");
        m.from_port: exact @name("src_port");
        m.to_port: exact @name("dst_port");
    }
    actions = { to_queue; to_flow; classify; @defaultonly NoAction; }
    const default_action = NoAction();
    pna_direct_counter = flow_entries;
    size = 262144;
}

// Inline filters, in the manner of application targeted routing: a pod gets the replies of a flow on the
// queue that it sends the flow from, without the control plane. What a pod sends keeps the filter of its
// replies; once it is silent for that many seconds, or the flow has moved to another queue, that ends.
const bit<32> INLINE_FILTER_S = 60;
action steer(bit<16> queue) {
    if (!m.is_sending) {
        set_queue(queue);
    } else {
        set_entry_lifetime(queue == m.sender ? INLINE_FILTER_S : 0);
    }
}
action learn_queue() {
    if (m.is_sending) {
        AddEntryErrorStatus_t status = add_entry_for("steer", { m.sender }, INLINE_FILTER_S);
        if (status != ADD_ENTRY_SUCCESS) { unlearnt_filters.count(0); }
    }
}
table inline_filters {
    key = {
        m.flow.port: exact @name("port");
        m.flow.src: exact @name("src");
        m.flow.dst: exact @name("dst");
        m.protocol: exact @name("protocol");
        m.flow.src_port: exact @name("src_port");
        m.flow.dst_port: exact @name("dst_port");
    }
    actions = { @tableonly steer; @defaultonly learn_queue; }
    add_on_miss = true;
    const default_action = learn_queue();
    pna_idle_timeout = PNA_IdleTimeout_t.AUTO_DELETE;
    size = 262144;
}
