// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The services of a container node, in the NIC: objects of Kubernetes in, entries of the tables of
//! `p4/k8s_node.p4` out.
//!
//! [`manifest`] reads files, [`desired`] decides what a data path should have, [`device`] knows what
//! one has and plans the updates between the two, [`nic`] writes them.

pub mod desired;
pub mod device;
pub mod flow;
pub mod manifest;
pub mod model;
pub mod nic;
pub mod numbers;
pub mod program;
pub mod reconcile;
pub mod select;
pub mod tag;
pub mod verdict;
