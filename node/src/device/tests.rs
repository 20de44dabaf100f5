// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plans, applied to an engine with the program, which refuses entries that refer to nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use adit_p4_frontend::files::{self, Folders};
use adit_p4runtime::p4info::p4info;
use adit_p4runtime::program::Package;
use adit_p4runtime::server::Pipeline;
use adit_pipeline::p4::Engine;
use proptest::prelude::*;

use super::*;
use crate::desired::{Kind, Masquerade};
use crate::model::{Endpoint, Policy, Port, Service};
use crate::program::{address_of, number};

fn engine() -> Engine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
    let mut package = Package {
        name: path.display().to_string(),
        text: files::read(&path).expect("the program"),
        defines: vec!["CONNECTIONS=1024".to_owned()],
        ..Package::default()
    };
    let made = package.gather(&Folders(Vec::new()), &Default::default());
    let (program, _) = made.unwrap_or_else(|error| panic!("{error}"));
    Engine::load(program).expect("an engine")
}

/// The entities of the program.
pub(crate) fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let engine = engine();
        let info = p4info(engine.program()).expect("ids").p4info;
        Program::new(&info).expect("it is the program")
    })
}

/// A NIC: the tables of an engine, and what can be read of them.
struct Tables {
    pipeline: Pipeline,
    shown: State,
}

impl Tables {
    fn new() -> Tables {
        let pipeline = Pipeline::of_engine(Arc::new(engine())).expect("a pipeline");
        Tables {
            pipeline,
            shown: State::default(),
        }
    }

    /// Applies an update, which has to be accepted.
    fn write(&mut self, device: &mut Device, planned: &Planned) {
        let errors = self
            .pipeline
            .write(std::slice::from_ref(&planned.update), 0);
        assert!(errors.is_empty(), "{errors:?}: {:?}", planned.update);
        self.shown.apply(&planned.update);
        device.applied(planned);
    }

    /// A client that knows nothing, and has read the tables.
    fn client(&self) -> Device {
        let mut device = Device::new(program().clone(), setup());
        let all: Vec<_> = self
            .shown
            .iter()
            .map(|(_, entity)| entity.clone())
            .collect();
        device.take(&all);
        device
    }

    /// Makes the device what it should be; returns the number of updates.
    fn apply(&mut self, device: &mut Device, scope: &Scope, services: &Services) -> usize {
        let plan = device.plan(scope, services).expect("numbers");
        plan.updates.iter().for_each(|it| self.write(device, it));
        plan.updates.len()
    }
}

fn setup() -> Setup {
    Setup {
        node: Node {
            name: Some("here".to_owned()),
            addresses: vec!["10.9.9.9".parse().expect("an address")],
        },
        zone: 0,
        mac: None,
    }
}

fn port(of: &Name, udp: bool) -> PortName {
    PortName {
        service: of.clone(),
        port: if udp { "dns" } else { "http" }.to_owned(),
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
    }
}

prop_compose! {
    fn endpoint()(
        last in 1..6_u8,
        is_v6 in prop::bool::weighted(0.3),
        is_here in any::<bool>(),
        uid in prop::sample::select(vec!["", "u1", "u2"]),
        state in prop::sample::select(vec![(true, true, false), (false, true, true),
            (false, false, true), (false, false, false)]),
    ) -> Endpoint {
        let (ready, serving, terminating) = state;
        Endpoint {
            address: match is_v6 {
                true => [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(),
                false => [10, 244, 0, last].into(),
            },
            port: 8080,
            node: Some(if is_here { "here" } else { "there" }.to_owned()),
            uid: uid.to_owned(),
            conditions: Conditions { ready, serving, terminating },
        }
    }
}

prop_compose! {
    fn service(n: u8)(
        cluster in 1..4_u8,
        has_v6 in any::<bool>(),
        external in prop::option::of(1..3_u8),
        ports in prop::collection::vec((any::<bool>(), 1..3_u16, prop::option::of(30000..30002_u16)), 1..3),
        affinity in prop::option::of(1..3_u32),
        policies in (any::<bool>(), any::<bool>()),
        endpoints in prop::collection::vec(endpoint(), 0..6),
    ) -> (Service, Vec<(PortName, Vec<Endpoint>)>) {
        let name = Name::new("default", format!("s{n}"));
        let mut all: Vec<Port> = Vec::new();
        for (udp, port, node_port) in ports {
            let PortName { port: name, protocol, .. } = self::port(&name, udp);
            if all.iter().all(|it| it.name != name) {
                all.push(Port { name, protocol, port, node_port });
            }
        }
        let policy = |local| if local { Policy::Local } else { Policy::Cluster };
        let mut cluster_ips = vec![[10, 96, 0, cluster].into()];
        if has_v6 {
            cluster_ips.push([0xfd96, 0, 0, 0, 0, 0, 0, u16::from(cluster)].into());
        }
        let of = [true, false].map(|udp| (self::port(&name, udp), endpoints.clone()));
        let service = Service {
            name,
            cluster_ips,
            external_ips: external.map(|last| [192, 0, 2, last].into()).into_iter().collect(),
            ingress_ips: Vec::new(),
            ports: all,
            affinity,
            internal_policy: policy(policies.0),
            external_policy: policy(policies.1),
        };
        (service, of.into())
    }
}

fn services() -> impl Strategy<Value = Services> {
    let all = (0..4).map(|n| prop::option::weighted(0.7, service(n)));
    all.collect::<Vec<_>>().prop_map(|all| {
        let mut services = Services::default();
        for (service, endpoints) in all.into_iter().flatten() {
            for (of, endpoints) in endpoints {
                for endpoint in endpoints {
                    services.add_endpoint(of.clone(), endpoint);
                }
            }
            services.services.insert(service.name.clone(), service);
        }
        services
    })
}

/// The state of a device, followed from the frontends, without numbers.
fn meaning(device: &Device) -> BTreeMap<String, String> {
    let program = device.program();
    let mut found = BTreeMap::new();
    for (_, entity) in device.state().iter() {
        let Entity::TableEntry(entry) = entity else {
            continue;
        };
        if entry.table_id != program.services.id {
            continue;
        }
        let balance = |place| number(program.balance.argument_of(entry, place).expect("balance"));
        let members = |group: u64| -> BTreeSet<SocketAddr> {
            let key = Key::Group {
                profile: program.members,
                id: group as u32,
            };
            let Some(Entity::ActionProfileGroup(group)) = device.state().get(&key) else {
                panic!("no group {group}");
            };
            let all = group.members.iter().map(|member| {
                let key = Key::Member {
                    profile: program.members,
                    id: member.member_id,
                };
                let Some(Entity::ActionProfileMember(member)) = device.state().get(&key) else {
                    panic!("no member {}", member.member_id);
                };
                let call = member.action.as_ref().expect("an action");
                let argument = |place| program.endpoint.argument(call, place).expect("endpoint");
                assert_eq!(number(argument(0)), u64::from(member.member_id));
                SocketAddr::new(address_of(argument(1)), number(argument(2)) as u16)
            });
            all.collect()
        };
        let value = |place| program.services.value(entry, place);
        let frontend = Frontend {
            address: address_of(value(1)),
            port: number(value(3)) as u16,
            protocol: Protocol::of_number(number(value(2)) as u8).expect("a protocol"),
        };
        let (inside, outside) = (members(balance(1)), members(balance(2)));
        let text = format!("{inside:?} {outside:?} {} {:#x}", balance(3), balance(4));
        found.insert(frontend.to_string(), text);
    }
    found
}

/// The state that services ask for, without a device.
fn wanted(services: &Services) -> BTreeMap<String, String> {
    let (desired, _) = Desired::new(services, &setup().node);
    let all = desired.frontends.iter().map(|(frontend, route)| {
        let members = |pool| -> BTreeSet<SocketAddr> {
            desired.pools[pool]
                .endpoints
                .iter()
                .map(|it| it.at)
                .collect()
        };
        let flags = match route.masquerade {
            Masquerade::Never => 0,
            Masquerade::Always => 1,
            Masquerade::Away => 8,
        } | u8::from(route.drops_inside) << 1
            | u8::from(route.drops_outside) << 2;
        let (inside, outside) = (members(&route.inside), members(&route.outside));
        let text = format!("{inside:?} {outside:?} {} {flags:#x}", route.affinity);
        (frontend.to_string(), text)
    });
    all.collect()
}

/// The number of entities of each kind that services need.
fn sizes(services: &Services) -> [usize; 6] {
    let (desired, _) = Desired::new(services, &setup().node);
    let pools = desired.pools.values();
    let used: BTreeSet<_> = pools.clone().flat_map(|pool| &pool.endpoints).collect();
    let sticky = pools
        .filter(|pool| pool.is_sticky)
        .map(|pool| pool.endpoints.len());
    let frontends = desired.frontends.iter();
    let addresses: BTreeSet<_> = frontends
        .filter(|(_, route)| route.kind != Kind::NodePort)
        .map(|(frontend, _)| frontend.address)
        .collect();
    [
        desired.frontends.len(),
        2 * desired.pools.len(),
        used.len(),
        sticky.sum(),
        desired.endpoints.len() + 1,
        addresses.len(),
    ]
}

fn counted(device: &Device) -> [usize; 6] {
    let program = device.program();
    let mut counts = [0; 6];
    for (key, _) in device.state().iter() {
        let kind = match key {
            Key::Group { .. } => 1,
            Key::Member { .. } => 2,
            Key::Entry { table, .. } if *table == program.services.id => 0,
            Key::Entry { table, .. } if *table == program.backends.id => 1,
            Key::Entry { table, .. } if *table == program.sticky_members.id => 3,
            Key::Entry { table, .. } if *table == program.endpoints.id => 4,
            Key::Entry { .. } => 5,
        };
        counts[kind] += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is on the device, also what a run has left that was interrupted, one more makes it
    /// exactly what it should be, and a second one writes nothing.
    #[test]
    fn random_states_converge(
        states in prop::collection::vec((services(), prop::option::of(0..40_usize), any::<bool>()), 1..8),
    ) {
        let mut tables = Tables::new();
        let mut device = tables.client();
        for (services, interrupted, restarts) in &states {
            if let Some(after) = interrupted {
                let plan = device.plan(&Scope::All, services).expect("numbers");
                plan.updates.iter().take(*after).for_each(|it| tables.write(&mut device, it));
                if *restarts {
                    device = tables.client();
                }
                continue;
            }
            tables.apply(&mut device, &Scope::All, services);
            prop_assert_eq!(&device.state, &tables.shown);
            prop_assert_eq!(meaning(&device), wanted(services));
            prop_assert_eq!(counted(&device), sizes(services));
            prop_assert_eq!(tables.apply(&mut device, &Scope::All, services), 0);
            let mut other = tables.client();
            prop_assert_eq!(tables.apply(&mut other, &Scope::All, services), 0);
            if *restarts {
                device = other;
            }
        }
        tables.apply(&mut device, &Scope::All, &Services::default());
        prop_assert_eq!(device.state().len(), 1, "the numbers of endpoints stay claimed");
    }

    /// Changes of some services lead to the state of all, and touch no other service.
    #[test]
    fn changes_of_some_services_are_enough(states in prop::collection::vec(services(), 1..6)) {
        let mut tables = Tables::new();
        let mut device = tables.client();
        let mut before = Services::default();
        for services in &states {
            let names = before.changed(services);
            tables.apply(&mut device, &Scope::Only(names), services);
            // A frontend that two services claim is that of the first to come here.
            let (_, skipped) = Desired::new(services, &setup().node);
            if skipped.is_empty() {
                tables.apply(&mut device, &Scope::All, services);
                prop_assert_eq!(meaning(&device), wanted(services));
                prop_assert_eq!(counted(&device), sizes(services));
            }
            prop_assert_eq!(&device.state, &tables.shown);
            before = services.clone();
        }
    }
}

fn one(name: &str, address: [u8; 4], last: &[u8]) -> Services {
    let mut services = Services::default();
    let name = Name::new("default", name);
    let of = port(&name, false);
    for last in last {
        let endpoint = Endpoint {
            address: [10, 244, 0, *last].into(),
            port: 8080,
            node: None,
            uid: String::new(),
            conditions: Conditions::default(),
        };
        services.add_endpoint(of.clone(), endpoint);
    }
    services.services.insert(
        name.clone(),
        Service {
            name,
            cluster_ips: vec![address.into()],
            external_ips: vec![[192, 0, 2, 1].into()],
            ingress_ips: Vec::new(),
            ports: vec![Port {
                name: of.port,
                protocol: of.protocol,
                port: u16::from(address[3]),
                node_port: None,
            }],
            affinity: None,
            internal_policy: Policy::Cluster,
            external_policy: Policy::Cluster,
        },
    );
    services
}

#[test]
fn other_services_stay_and_addresses_are_shared() {
    let mut tables = Tables::new();
    let mut device = tables.client();
    let only = |name: &str| Scope::Only([Name::new("default", name)].into());
    tables.apply(&mut device, &only("a"), &one("a", [10, 96, 0, 1], &[1]));
    tables.apply(&mut device, &only("b"), &one("b", [10, 96, 0, 2], &[2]));
    let names: Vec<_> = device.names().map(Name::to_string).collect();
    assert_eq!(names, ["default/a", "default/b"]);
    assert_eq!(counted(&device)[5], 3, "192.0.2.1 is one address");
    tables.apply(&mut device, &only("a"), &Services::default());
    assert_eq!(counted(&device)[5], 2);
    tables.apply(&mut device, &only("b"), &Services::default());
    assert_eq!(counted(&device), [0, 0, 0, 0, 1, 0]);
}

#[test]
fn an_external_address_of_the_node_stays_the_nodes() {
    let mut tables = Tables::new();
    let mut device = tables.client();
    let mut services = one("a", [10, 96, 0, 1], &[1]);
    let service = services.services.values_mut().next().expect("a service");
    service.external_ips.push([10, 9, 9, 9].into());
    tables.apply(&mut device, &Scope::All, &services);
    let counts = counted(&device);
    assert_eq!(counts[0], 3, "its port has a frontend: {counts:?}");
    assert_eq!(counts[5], 2, "other ports are not refused: {counts:?}");
}

#[test]
fn a_frontend_is_not_taken_from_another_service() {
    let mut tables = Tables::new();
    let mut device = tables.client();
    let only = |name: &str| Scope::Only([Name::new("default", name)].into());
    tables.apply(&mut device, &only("b"), &one("b", [10, 96, 0, 1], &[1]));
    let plan = device.plan(&only("a"), &one("a", [10, 96, 0, 1], &[2]));
    let skipped: Vec<_> = plan.expect("numbers").skipped;
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped[0]
        .to_string()
        .contains("is the service default/b's already"));
}

#[test]
fn entries_of_others_are_left_alone() {
    let mut tables = Tables::new();
    let program = program();
    let services = one("a", [10, 96, 0, 1], &[1]);
    let mut first = tables.client();
    tables.apply(&mut first, &Scope::All, &services);
    // The same entries, without what says whose they are.
    let mut others = Tables::new();
    let own: Vec<_> = tables
        .shown
        .iter()
        .map(|(_, entity)| entity.clone())
        .collect();
    for entity in &own {
        let mut entity = entity.clone();
        if let Entity::TableEntry(entry) = &mut entity {
            entry.metadata.clear();
        }
        others.shown.insert(&entity);
    }
    let mut device = others.client();
    assert!(device.state().is_empty());
    let plan = device.plan(&Scope::All, &services).expect("numbers");
    assert_eq!(plan.skipped.len(), 2, "{:?}", plan.skipped);
    for planned in &plan.updates {
        let entity = planned
            .update
            .entity
            .clone()
            .and_then(|it| it.entity)
            .expect("one");
        let Some(key) = Key::of(&entity) else {
            continue;
        };
        let is_marker = key == device.marker().0;
        assert!(is_marker || others.shown.get(&key).is_none(), "{entity:?}");
    }
    assert!(program.members != 0);
}

#[test]
fn nothing_is_written_before_what_it_leads_to() {
    let mut tables = Tables::new();
    let mut device = tables.client();
    let plan = device.plan(&Scope::All, &one("a", [10, 96, 0, 1], &[1, 2]));
    let plan = plan.expect("numbers");
    let table = |planned: &Planned| match planned.update.entity.as_ref()?.entity.as_ref()? {
        Entity::TableEntry(entry) => Some(entry.table_id),
        _ => None,
    };
    let place = |id| plan.updates.iter().position(|it| table(it) == Some(id));
    let program = device.program().clone();
    assert!(place(program.endpoints.id) < place(program.backends.id));
    assert!(place(program.backends.id) < place(program.services.id));
    assert!(place(program.services.id) < place(program.addresses.id));
    let before: Vec<_> = plan.updates.clone();
    before.iter().for_each(|it| tables.write(&mut device, it));
    let plan = device
        .plan(&Scope::All, &Services::default())
        .expect("numbers");
    let place = |id| plan.updates.iter().position(|it| table(it) == Some(id));
    assert_eq!(place(program.services.id), Some(0));
    assert!(place(program.backends.id) < place(program.endpoints.id));
}

#[test]
fn an_endpoint_with_the_address_of_an_earlier_one_is_another() {
    let mut tables = Tables::new();
    let mut device = tables.client();
    let services = one("a", [10, 96, 0, 1], &[1]);
    let id = |device: &Device| *device.endpoints.keys().next().expect("an endpoint");
    tables.apply(&mut device, &Scope::All, &services);
    let first = id(&device);
    tables.apply(&mut device, &Scope::All, &one("a", [10, 96, 0, 1], &[]));
    // A run that knows nothing of the first.
    let mut device = tables.client();
    tables.apply(&mut device, &Scope::All, &services);
    assert_ne!(id(&device), first);
    let mut renewed = services.clone();
    for endpoint in renewed.endpoints.values_mut().flatten() {
        endpoint.uid = "another-pod".to_owned();
    }
    let second = id(&device);
    tables.apply(&mut device, &Scope::All, &renewed);
    assert_ne!(id(&device), second);
    let stale = |device: &Device, id| {
        let at = Frontend {
            address: [10, 96, 0, 9].into(),
            port: 1,
            protocol: Protocol::Udp,
        };
        device.is_stale(id, &at)
    };
    assert!(stale(&device, second) && !stale(&device, id(&device)) && !stale(&device, 0));
}
