// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The endpoints that take new connections: those that are ready, or, if none is, those that
//! terminate and still serve (KEP-1669, KEP-2086), each policy on its own.

use crate::model::{Endpoint, Policy};

/// Returns whether an endpoint is on this node.
fn is_local(endpoint: &Endpoint, node: Option<&str>) -> bool {
    node.is_some() && endpoint.node.as_deref() == node
}

/// The endpoints that new connections are distributed over, under a policy.
pub fn usable<'e>(
    endpoints: &'e [Endpoint],
    policy: Policy,
    node: Option<&str>,
) -> Vec<&'e Endpoint> {
    let admitted = |it: &&Endpoint| match policy {
        Policy::Cluster => true,
        Policy::Local => is_local(it, node),
    };
    let of_policy: Vec<_> = endpoints.iter().filter(admitted).collect();
    let ready = of_policy.iter().filter(|it| it.conditions.ready).copied();
    let ready: Vec<_> = ready.collect();
    if !ready.is_empty() {
        return ready;
    }
    let last = |it: &&&Endpoint| it.conditions.serving && it.conditions.terminating;
    of_policy.iter().filter(last).copied().collect()
}

/// Returns whether any node has an endpoint that could take a connection. Without one, a service
/// refuses its clients; with one on other nodes only, the policy `Local` drops their packets.
pub fn has_any(endpoints: &[Endpoint]) -> bool {
    !usable(endpoints, Policy::Cluster, None).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Conditions;

    fn endpoint(last: u8, node: &str, ready: bool, serving: bool, terminating: bool) -> Endpoint {
        Endpoint {
            address: [10, 0, 0, last].into(),
            port: 80,
            node: Some(node.to_owned()),
            uid: String::new(),
            conditions: Conditions {
                ready,
                serving,
                terminating,
            },
        }
    }

    fn chosen(all: &[Endpoint], policy: Policy, node: Option<&str>) -> Vec<String> {
        let usable = usable(all, policy, node).into_iter();
        usable.map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn what_terminates_serves_only_if_nothing_else_does() {
        let ready = endpoint(1, "a", true, true, false);
        let last = endpoint(2, "a", false, true, true);
        let ended = endpoint(3, "a", false, false, true);
        let unready = endpoint(4, "a", false, false, false);
        let all = [ready.clone(), last.clone(), ended.clone(), unready.clone()];
        assert_eq!(chosen(&all, Policy::Cluster, None), ["10.0.0.1"]);
        assert_eq!(chosen(&all[1..], Policy::Cluster, None), ["10.0.0.2"]);
        assert!(chosen(&all[2..], Policy::Cluster, None).is_empty());
        assert!(has_any(&all[1..]) && !has_any(&all[2..]));
    }

    #[test]
    fn serving_without_terminating_is_not_enough() {
        let all = [endpoint(1, "a", false, true, false)];
        assert!(chosen(&all, Policy::Cluster, None).is_empty());
    }

    #[test]
    fn policies_fall_back_on_their_own() {
        let all = [
            endpoint(1, "here", false, true, true),
            endpoint(2, "there", true, true, false),
        ];
        let here = Some("here");
        assert_eq!(chosen(&all, Policy::Cluster, here), ["10.0.0.2"]);
        assert_eq!(chosen(&all, Policy::Local, here), ["10.0.0.1"]);
        assert!(chosen(&all[1..], Policy::Local, here).is_empty());
        assert!(
            chosen(&all, Policy::Local, None).is_empty(),
            "a node without a name has no endpoints"
        );
    }
}
