// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLS with certificates of both sides.

use adit_p4runtime::client::{Client, ClientError, ClientTls, Target};
use adit_p4runtime::server::Tls;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};

use crate::common::{nic_with, Nic, DEVICE};

/// A certificate authority.
struct Authority(Certificate, KeyPair);

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(params.self_signed(&key).expect("a certificate"), key)
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// Issues a certificate and its key.
    fn sign(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let signed = params.signed_by(&key, &self.0, &self.1).expect("signed");
        (signed.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

/// Returns certificates of a server that admits any client.
pub(crate) fn server_certificates() -> Tls {
    let (certificate, key) = Authority::new().sign("localhost");
    Tls {
        certificate,
        key,
        clients: None,
    }
}

fn tables(nic: &Nic, tls: Option<ClientTls>) -> Result<usize, ClientError> {
    let mut client = Client::connect(Target {
        address: nic.listening.address.replace("127.0.0.1", "localhost"),
        device_id: DEVICE,
        role: String::new(),
        tls,
    })?;
    Ok(client.p4info()?.tables.len())
}

#[test]
fn who_has_no_certificate_is_not_let_in() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let (certificate, key) = servers.sign("localhost");
    let nic = nic_with(
        Some(Tls {
            certificate,
            key,
            clients: Some(clients.pem()),
        }),
        true,
    );
    let with = |servers: &Authority, identity| {
        let servers = servers.pem();
        Some(ClientTls { servers, identity })
    };
    let good = with(&servers, Some(clients.sign("controller")));
    assert_eq!(tables(&nic, good).expect("it is let in"), 3);
    assert!(tables(&nic, None).is_err());
    assert!(tables(&nic, with(&servers, None)).is_err());
    assert!(tables(&nic, with(&servers, Some(others.sign("controller")))).is_err());
    // The client verifies the server, too.
    assert!(tables(&nic, with(&others, Some(clients.sign("controller")))).is_err());
}

#[test]
fn bad_certificates_are_said_when_the_server_starts() {
    let tls = Tls {
        certificate: b"nothing".to_vec(),
        key: b"nothing".to_vec(),
        clients: None,
    };
    let result = std::panic::catch_unwind(|| nic_with(Some(tls), true));
    assert!(result.is_err());
}
