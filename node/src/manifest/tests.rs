// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::model::{Policy, Port, PortName, Protocol, Service};

fn read(text: &str) -> Result<(Services, Vec<Note>), Vec<String>> {
    let mut manifest = Manifest::default();
    manifest.read("web.yaml", text, "default");
    let texts = |mistakes: Vec<Mistake>| mistakes.iter().map(Mistake::to_string).collect();
    manifest.finish().map_err(texts)
}

fn only(services: &Services) -> &Service {
    assert_eq!(services.services.len(), 1);
    services.services.values().next().expect("a service")
}

/// As `kubectl get service,endpointslice -o yaml` prints it.
const LIST: &str = r#"
apiVersion: v1
kind: List
metadata:
  resourceVersion: ""
items:
- apiVersion: v1
  kind: Service
  metadata:
    annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
    creationTimestamp: "2026-01-02T03:04:05Z"
    name: web
    namespace: shop
    uid: 7c1a
  spec:
    allocateLoadBalancerNodePorts: true
    clusterIP: 10.96.7.7
    clusterIPs: [10.96.7.7, "fd00:96::7"]
    externalIPs: [192.0.2.9]
    externalTrafficPolicy: Local
    internalTrafficPolicy: Cluster
    ipFamilies: [IPv4, IPv6]
    ipFamilyPolicy: PreferDualStack
    ports:
    - {name: http, nodePort: 30080, port: 80, protocol: TCP, targetPort: web}
    - {name: dns, nodePort: 0, port: 53, protocol: UDP, targetPort: 5353}
    selector: {app: web}
    sessionAffinity: ClientIP
    sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}
    type: LoadBalancer
  status:
    loadBalancer:
      ingress:
      - {ip: 198.51.100.3, ipMode: VIP}
      - {ip: 198.51.100.4, ipMode: Proxy}
      - {hostname: lb.example}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  addressType: IPv4
  metadata:
    name: web-x7z
    namespace: shop
    labels: {kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: c}
  endpoints:
  - addresses: [10.244.1.5]
    conditions: {ready: true, serving: true, terminating: false}
    nodeName: here
    targetRef: {kind: Pod, name: web-1}
    zone: a
  - addresses: [10.244.1.6]
    conditions: {ready: false, serving: true, terminating: true}
  - addresses: [10.244.1.7]
  ports:
  - {name: http, port: 8080, protocol: TCP}
  - {name: dns, port: 5353, protocol: UDP}
"#;

#[test]
fn what_kubectl_prints_is_read() {
    let (services, notes) = read(LIST).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    let service = only(&services);
    assert_eq!(service.name, Name::new("shop", "web"));
    assert_eq!(service.affinity, Some(600));
    assert_eq!(service.external_policy, Policy::Local);
    assert_eq!(service.internal_policy, Policy::Cluster);
    let shown = |all: &[std::net::IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&service.cluster_ips), ["10.96.7.7", "fd00:96::7"]);
    assert_eq!(shown(&service.external_ips), ["192.0.2.9"]);
    assert_eq!(
        shown(&service.ingress_ips),
        ["198.51.100.3"],
        "a proxy's is not ours"
    );
    let port = |name: &str, protocol, port, node_port| Port {
        name: name.to_owned(),
        protocol,
        port,
        node_port,
    };
    let http = port("http", Protocol::Tcp, 80, Some(30080));
    let dns = port("dns", Protocol::Udp, 53, None);
    assert_eq!(service.ports, [http.clone(), dns.clone()]);
    let all = services.endpoints_of(&service.name, &http);
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].port, all[0].node.as_deref()), (8080, Some("here")));
    assert!(!all[1].conditions.ready && all[1].conditions.serving && all[1].conditions.terminating);
    assert!(
        all[2].conditions.ready,
        "absent conditions are those of a ready endpoint"
    );
    assert_eq!(services.endpoints_of(&service.name, &dns)[0].port, 5353);
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n";

#[test]
fn documents_and_json_are_read() {
    let text = format!(
        "{SERVICE}  clusterIP: 10.96.0.1\n  ports: [{{port: 80}}]\n---\n---\n{}",
        r#"{"apiVersion":"v1","kind":"ServiceList","items":[{"metadata":{"name":"b"},
            "spec":{"clusterIP":"10.96.0.2","ports":[{"port":81}]}}]}"#
    );
    let (services, notes) = read(&text).unwrap();
    assert!(notes.is_empty());
    let names: Vec<_> = services.services.keys().map(Name::to_string).collect();
    assert_eq!(names, ["default/b", "default/web"]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let service = |spec: &str| format!("{SERVICE}{spec}");
    let slice = |rest: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s, labels: {{kubernetes.io/service-name: web}}}}\n{rest}"
        )
    };
    for (text, wanted) in [
        (
            service("  clusterIP: 10.96.0.1\n  ports: [{port: 80}, {port: 70000, name: b}]"),
            "web.yaml, document 1, Service web, spec.ports[1].port: invalid value: \
             integer `70000`, expected a port, from 1 to 65535",
        ),
        (
            service("  clusterIP: 10.96.0.1\n  ports: [{port: 80, protocol: tcp}]"),
            "spec.ports[0].protocol: unknown variant `tcp`, expected one of `TCP`, `UDP`, `SCTP`",
        ),
        (
            service("  clusterIP: 10.96.0\n  ports: [{port: 80}]"),
            "spec.clusterIP: `10.96.0` is no address of IPv4 or IPv6",
        ),
        (
            service("  clusterIP: 127.0.0.1\n  ports: [{port: 80}]"),
            "spec.clusterIP: `127.0.0.1` is a loopback address",
        ),
        (
            service("  clusterIPs: [10.96.0.1, 10.96.0.2]\n  clusterIP: 10.96.0.1\n  ports: [{port: 1}]"),
            "spec.clusterIPs: one address of each family is wanted",
        ),
        (
            service("  clusterIP: 10.96.0.1\n  clusterIPs: [10.96.0.2]\n  ports: [{port: 1}]"),
            "spec.clusterIPs[0]: `10.96.0.2` is the first, but spec.clusterIP is `10.96.0.1`",
        ),
        (service("  ports: [{port: 80}]"), "spec.clusterIP: missing: the API server assigns it"),
        (
            service("  clusterIP: 10.96.0.1\n  ports: [{port: 80}, {port: 81, name: b}]"),
            "spec.ports[0].name: missing: each of several ports has a name",
        ),
        (
            service("  clusterIP: 10.96.0.1\n  ports: [{port: 8, name: a}, {port: 8, name: b}]"),
            "spec.ports[1].port: 8 of TCP is there twice",
        ),
        (
            service("  clusterIP: 10.96.0.1\n  ports: [{port: 80}]\n  sessionAffinity: Client"),
            "spec.sessionAffinity: unknown variant `Client`, expected `ClientIP` or `None`",
        ),
        (
            service(
                "  clusterIP: 10.96.0.1\n  ports: [{port: 80}]\n  sessionAffinity: ClientIP\n  \
                 sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}",
            ),
            "clientIP.timeoutSeconds: invalid value: integer `86401`, expected seconds, from 1 to",
        ),
        ("kind: Service\napiVersion: v2".into(), "apiVersion: `v2` is not known: v1 is wanted"),
        ("apiVersion: v1".into(), "kind: missing: Service, EndpointSlice or List is wanted"),
        ("apiVersion: v1\nkind: Service".into(), "metadata.name: missing"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: We b}".into(),
            "metadata.name: `We b` is no name",
        ),
        ("- 1".into(), "document 1: invalid type: sequence"),
        ("a: [".into(), "document 1: no YAML: "),
        (slice("addressType: IPv7"), "addressType: unknown variant `IPv7`"),
        (
            slice("addressType: IPv6\nports: [{port: 1}]\nendpoints: [{addresses: [10.0.0.1]}]"),
            "EndpointSlice s, endpoints[0].addresses[0]: `10.0.0.1` is of IPv4, but addressType is",
        ),
        (
            slice("addressType: IPv4\nendpoints: [{addresses: []}]"),
            "endpoints[0].addresses[0]: missing",
        ),
        (
            format!("kind: List\nitems:\n- {}", service("  ports: 1").replace('\n', "\n  ")),
            "document 1, items[0], Service web, spec.ports: invalid type: integer `1`",
        ),
    ] {
        let mistakes = read(&text).expect_err(&text).join("\n");
        assert!(mistakes.contains(wanted), "{text}\n{mistakes}");
    }
}

#[test]
fn all_mistakes_are_told_and_a_service_is_there_once() {
    let one = format!("{SERVICE}  clusterIP: 10.96.0.1\n  ports: [{{port: 80}}]\n");
    let mistakes = read(&format!("{one}---\n{one}---\nkind: x\n---\nkind: Service")).unwrap_err();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].contains("document 2, Service web, metadata.name: the service default/web"));
    assert!(mistakes[1].contains("document 4"));
}

#[test]
fn aliases_repeat_no_more_than_a_file_has() {
    let document = |scalar: &str, aliases: usize| {
        let all = "*a, ".repeat(aliases);
        format!("kind: x\na: &a {scalar}\nb: [{all}]")
    };
    let (long, many) = ("x".repeat(2000), format!("[{}]", "1, ".repeat(2000)));
    for scalar in [&*long, &*many] {
        let mistakes = read(&document(scalar, 2000)).unwrap_err();
        assert!(mistakes[0].contains("aliases repeat more"), "{mistakes:?}");
        assert!(read(&document(scalar, 1)).is_ok());
    }
}

#[test]
fn endpoints_of_a_slice_are_bounded_for_each_port_and_in_all() {
    let text = |ports: usize, endpoints: usize| {
        let ports: String = (0..ports)
            .map(|n| format!("{{name: p{n}, port: 80}}, "))
            .collect();
        let endpoints = "{addresses: [10.244.0.1]}, ".repeat(endpoints);
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: s, labels: {{kubernetes.io/service-name: web}}}}\n\
             ports: [{ports}]\nendpoints: [{endpoints}]"
        )
    };
    for (ports, endpoints, wanted) in [
        (1, (1 << 16) + 1, "ports[0]: 65537 endpoints of this port"),
        (
            17,
            (1 << 16) - 1,
            "ports[16]: 1114095 endpoints of all ports",
        ),
    ] {
        let mistakes = read(&text(ports, endpoints)).unwrap_err();
        assert!(mistakes[0].contains(wanted), "{mistakes:?}");
    }
}

#[test]
fn a_service_of_another_proxy_is_skipped_with_its_slices() {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  labels: {{{OTHER_PROXY}: other}}\n\
         spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: s, labels: {{kubernetes.io/service-name: web}}}}\n\
         ports: [{{port: 80}}]\nendpoints: [{{addresses: [10.244.0.1]}}]"
    );
    let (services, notes) = read(&text).unwrap();
    assert_eq!(services, Services::default());
    let notes: Vec<_> = notes.iter().map(Note::to_string).collect();
    assert!(
        notes.len() == 1 && notes[0].contains("Service web: skipped"),
        "{notes:?}"
    );
}

#[test]
fn a_service_without_ports_is_skipped() {
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                 metadata: {name: s, labels: {kubernetes.io/service-name: web}}\n\
                 ports: [{port: 80}]\nendpoints: [{addresses: [10.244.0.1]}]";
    for (spec, wanted) in [
        (
            "clusterIP: 10.96.0.1",
            "spec.ports: skipped: a service without ports",
        ),
        (
            "clusterIP: 10.96.0.1\n  ports: []",
            "spec.ports: skipped: a service without ports",
        ),
        (
            "clusterIP: 10.96.0.1\n  ports: null",
            "spec.ports: skipped: a service without ports",
        ),
        ("ports: []", "spec.ports: skipped: a service without ports"),
        // The two kinds that may have none.
        (
            "clusterIP: None\n  ports: []",
            "spec.clusterIP: skipped: a headless service",
        ),
        (
            "type: ExternalName\n  ports: []",
            "spec.type: skipped: an ExternalName",
        ),
    ] {
        let mut manifest = Manifest::default();
        manifest.read(
            "web.yaml",
            &format!("{SERVICE}  {spec}\n---\n{slice}"),
            "default",
        );
        // A data path that still has the service loses it.
        let web = Name::new("default", "web");
        assert!(manifest.skipped().contains(&web), "{spec}");
        let (services, notes) = manifest.finish().expect(spec);
        assert_eq!(services, Services::default(), "{spec}");
        let notes: Vec<_> = notes.iter().map(Note::to_string).collect();
        assert!(
            notes.len() == 1 && notes[0].contains(wanted),
            "{spec}: {notes:?}"
        );
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    let text = format!(
        "{SERVICE}  clusterIP: None\n---\n{}\n---\n{}\n---\n{}\n---\nkind: Pod\n---\n{}",
        SERVICE.replace("web", "out") + "  type: ExternalName\n  externalName: a.example",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {name: s, labels: {kubernetes.io/service-name: web}}\nendpoints: null",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {name: s2, labels: {kubernetes.io/service-name: gone}}\nports: null",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: FQDN\n\
         metadata: {name: s3, labels: {kubernetes.io/service-name: web}}",
    );
    let (services, notes) = read(&text).unwrap();
    assert_eq!(services, Services::default());
    let notes: Vec<_> = notes.iter().map(Note::to_string).collect();
    for wanted in [
        "spec.clusterIP: skipped: a headless service",
        "spec.type: skipped: an ExternalName",
        "document 5, Pod: skipped: neither",
        "addressType: skipped: names are not resolved",
        "the service default/gone is in none of the files",
    ] {
        assert!(
            notes.iter().any(|note| note.contains(wanted)),
            "{wanted}: {notes:?}"
        );
    }
    assert_eq!(notes.len(), 5, "{notes:?}");
}

#[test]
fn an_endpoint_that_moves_between_slices_has_the_better_conditions() {
    let mut text = format!("{SERVICE}  clusterIP: 10.96.0.1\n  ports: [{{port: 80}}]\n");
    for (name, ready) in [("a", "true"), ("b", "false")] {
        text.push_str(&format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}\n\
             ports: [{{port: 8080, name: ''}}]\n\
             endpoints: [{{addresses: [10.244.0.1], conditions: {{ready: {ready}}}}}]\n"
        ));
    }
    let (services, _) = read(&text).unwrap();
    let of = PortName {
        service: Name::new("default", "web"),
        port: String::new(),
        protocol: Protocol::Tcp,
    };
    assert_eq!(services.endpoints[&of].len(), 1);
    assert!(services.endpoints[&of][0].conditions.ready);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(kind|: |\n|- |v1|Service|[a-z{}\\[\\]&*!]|  ){0,60}") {
        let _ = read(&text);
    }
}
