// SPDX-License-Identifier: Apache-2.0 OR MIT
// The blocks around the ingress of a test, which has to be called `I`. A test declares `H` and `M`
// and a parser `P` before.

control V(inout H h, inout M m) { apply {} }
control E(inout H h, inout M m, inout standard_metadata_t s) { apply {} }
control C(inout H h, inout M m) { apply {} }
control D(packet_out b, in H h) { apply { b.emit(h); } }

V1Switch(P(), V(), I(), E(), C(), D()) main;
