// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ADIs of a NIC in this process: no kernel module, no PF driver and no IOMMU are between.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use adit_function::control::MAX_RING_LEN;
use adit_function::doorbells::Run;
use adit_function::memory::WriteLog;
use adit_nic::embedded::{self, Error, Nic, MAX_REGISTERED_LEN, MAX_REGISTRATIONS};
use adit_uapi::virtchnl2::status;
use adit_vfio_user::EventFd;

use crate::backend::{
    Adi, AdiError, AdiSpec, DoorbellPages, Ids, Link, Member, Properties, Provider, Window,
};

/// A NIC in this process, whose ADIs exist as long as they are open.
pub struct EmbeddedNic(Nic);

impl EmbeddedNic {
    /// ADIs of a NIC that has been started.
    #[must_use]
    pub fn new(nic: Nic) -> Self {
        Self(nic)
    }

    /// The NIC.
    #[must_use]
    pub fn nic(&self) -> &Nic {
        &self.0
    }

    /// Ends its use: the NIC, to be stopped.
    #[must_use]
    pub fn into_nic(self) -> Nic {
        self.0
    }
}

impl Provider for EmbeddedNic {
    /// There are none: each is opened by its creator.
    fn list(&self) -> Result<Vec<String>, AdiError> {
        Ok(Vec::new())
    }

    fn opens_by_name(&self) -> bool {
        false
    }

    fn open(&self, name: &str) -> Result<Box<dyn Adi>, AdiError> {
        Err(AdiError::Limit {
            what: "opening an ADI",
            reason: format!(
                "`{name}` is not an ADI of the NIC in this process, which creates one for each \
                 request: leave out its name"
            ),
        })
    }

    fn create(&self, spec: &AdiSpec) -> Result<Box<dyn Adi>, AdiError> {
        let adi = self
            .0
            .create_adi(spec)
            .map_err(|e| error("creating an ADI", e))?;
        Ok(Box::new(EmbeddedAdi::new(adi)?))
    }

    fn recreate(&self, spec: &AdiSpec, pages: OwnedFd) -> Result<Box<dyn Adi>, AdiError> {
        let adi = self
            .0
            .recreate_adi(spec, pages)
            .map_err(|e| error("creating an ADI over inherited doorbell pages", e))?;
        Ok(Box::new(EmbeddedAdi::new(adi)?))
    }
}

/// An open ADI of the NIC.
struct EmbeddedAdi {
    name: String,
    properties: Properties,
    pages: DoorbellPages,
    adi: embedded::Adi,
}

impl EmbeddedAdi {
    fn new(adi: embedded::Adi) -> Result<Self, AdiError> {
        let created = adi.created();
        let file = adi.pages().try_clone();
        let what = "duplicating a file of doorbell pages";
        Ok(Self {
            name: format!("embedded:{}", created.id.0),
            properties: Properties {
                mac: created.mac,
                vlan: created.vlan,
                pairs: created.pairs,
                vectors: created.pairs,
                max_mtu: created.max_mtu,
                max_ring_len: MAX_RING_LEN,
                iova: 0..=u64::MAX,
                max_registrations: MAX_REGISTRATIONS as u32,
                max_registered_len: MAX_REGISTERED_LEN,
            },
            pages: DoorbellPages {
                file: file.map_err(|source| AdiError::Io { what, source })?,
                count: adi.page_count(),
            },
            adi,
        })
    }
}

impl EmbeddedAdi {
    /// Continues with another file of doorbell pages.
    fn pages_changed(&mut self, what: &'static str) -> Result<(), AdiError> {
        let file = self.adi.pages().try_clone();
        self.pages.file = file.map_err(|source| AdiError::Io { what, source })?;
        Ok(())
    }
}

impl Adi for EmbeddedAdi {
    fn name(&self) -> &str {
        &self.name
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn ids(&self) -> Ids {
        let created = self.adi.created();
        Ids {
            vport: created.vport.0,
            adi: created.id.0,
            pasid: created.pasid.get(),
            first_queues: created.first_queues,
        }
    }

    fn link(&self) -> Result<Link, AdiError> {
        let (up, speed_mbps) = (self.adi.link()).map_err(|e| error("reading the link", e))?;
        Ok(Link { up, speed_mbps })
    }

    fn request(
        &mut self,
        opcode: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), AdiError> {
        let answered = self.adi.request(opcode, payload, reply);
        answered.map_err(|e| error("sending a message", e))
    }

    fn map(&mut self, window: &Window) -> Result<(), AdiError> {
        let what = "mapping a window";
        let Window {
            iova,
            len,
            access,
            ref file,
            offset,
        } = *window;
        let file = file.try_clone();
        let file = file.map_err(|source| AdiError::Io { what, source })?;
        let mapped = self.adi.map(iova, len, access, file, offset);
        mapped.map_err(|e| error(what, e))
    }

    fn unmap(&mut self, iova: u64, len: u64) -> Result<(), AdiError> {
        let unmapped = self.adi.unmap(iova, len);
        unmapped.map_err(|e| error("unmapping a window", e))
    }

    fn log_writes(&mut self, log: Option<Arc<WriteLog>>) -> bool {
        self.adi.log_writes(log);
        true
    }

    fn settle_writes(&self) {
        self.adi.settle_writes();
    }

    fn set_vector(&mut self, vector: u16, eventfd: Option<&EventFd>) -> Result<(), AdiError> {
        let set = self.adi.set_vector(vector, eventfd);
        set.map_err(|e| error("setting the eventfd of a vector", e))
    }

    fn pages(&self) -> Result<&DoorbellPages, AdiError> {
        Ok(&self.pages)
    }

    fn revoke_pages(&mut self) -> Result<(), AdiError> {
        let what = "revoking doorbell pages";
        self.adi.renew_pages().map_err(|e| error(what, e))?;
        self.pages_changed(what)
    }

    fn adopt_pages(&mut self, pages: OwnedFd) -> Result<(), AdiError> {
        let what = "taking over doorbell pages";
        self.adi.adopt_pages(pages).map_err(|e| error(what, e))?;
        self.pages_changed(what)
    }

    fn member(&self) -> Result<Member<'_>, AdiError> {
        Ok(Member {
            id: self.adi.created().id,
            device: None,
        })
    }

    fn lead(&mut self, members: &[Member<'_>]) -> Result<(), AdiError> {
        let members: Vec<_> = members.iter().map(|member| member.id).collect();
        let joined = self.adi.lead(&members);
        joined.map_err(|e| error("joining ADIs in a group", e))
    }

    fn places_pages(&self) -> bool {
        true
    }

    fn place_pages(&mut self, file: OwnedFd, runs: &[Run]) -> Result<(), AdiError> {
        let what = "placing doorbell pages in a shared file";
        self.adi
            .place_pages(file, runs)
            .map_err(|e| error(what, e))?;
        self.pages_changed(what)
    }

    fn reset(&mut self) -> Result<(), AdiError> {
        self.adi.reset().map_err(|e| error("resetting the ADI", e))
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.adi.gone()
    }

    fn fault(&self) -> BorrowedFd<'_> {
        self.adi.fault()
    }
}

/// The error of an attempted operation.
fn error(what: &'static str, error: Error) -> AdiError {
    match error {
        Error::Refused { opcode, status } => AdiError::Refused {
            opcode,
            reason: status::name(status).map_or_else(|| status.to_string(), str::to_owned),
        },
        Error::NotForOwners(opcode) => AdiError::Refused {
            opcode,
            reason: "it is not one for the owner of an ADI".into(),
        },
        Error::Gone => AdiError::Gone,
        Error::Io { what, source } => AdiError::Io { what, source },
        Error::NoSuchVector { .. }
        | Error::Unaligned { .. }
        | Error::TooMany
        | Error::TooLarge { .. }
        | Error::NotRegistered { .. }
        | Error::Map(_) => AdiError::Limit {
            what,
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use adit_function::control::AdiLimits;
    use adit_function::mac::MacAddr;
    use adit_function::memory::Access;
    use adit_function::testing::sealed;
    use adit_nic::runtime::Setup;
    use adit_nic::wire::WireSpec;
    use adit_uapi::virtchnl2::{op, VportStats};
    use rustix::event::{eventfd, EventfdFlags};
    use zerocopy::little_endian::U32;
    use zerocopy::{FromBytes, IntoBytes};

    use super::*;

    fn nic() -> EmbeddedNic {
        let setup = Setup {
            wires: vec![WireSpec::None],
            mac: MacAddr([2, 0xAD, 0x17, 0, 0, 1]),
            p4: None,
            p4_options: Default::default(),
            connections: 16,
            reserved_ports: Vec::new(),
            p4rt: None,
            metrics: None,
        };
        let limits = AdiLimits { adis: 2, pairs: 4 };
        EmbeddedNic::new(Nic::start(&setup, limits).unwrap())
    }

    fn spec(pairs: u16) -> AdiSpec {
        AdiSpec {
            pairs,
            ..AdiSpec::default()
        }
    }

    /// Returns whether an eventfd is readable.
    fn is_readable(event: BorrowedFd<'_>) -> bool {
        rustix::io::read(event, &mut [0; 8]) == Ok(8)
    }

    #[test]
    fn an_adi_of_the_nic_is_what_the_interface_says() {
        let nic = nic();
        assert!(nic.list().unwrap().is_empty());
        assert!(nic.open("embedded:0").is_err());
        let mut adi = nic.create(&spec(2)).unwrap();
        let properties = adi.properties().clone();
        assert_eq!((properties.pairs, properties.vectors), (2, 2));
        assert_eq!(adi.pages().unwrap().count, 8);
        assert!(!adi.link().unwrap().up, "its port has no wire");
        let window = Window {
            iova: 0x4000,
            len: 0x1000,
            access: Access {
                read: true,
                write: true,
            },
            file: Arc::new(sealed(0x2000)),
            offset: 0x1000,
        };
        adi.map(&window).unwrap();
        assert!(matches!(adi.map(&window), Err(AdiError::Limit { .. })));
        assert!(matches!(adi.unmap(0x4000, 1), Err(AdiError::Limit { .. })));
        adi.unmap(0x4000, 0x1000).unwrap();

        let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let trigger = EventFd::from_client(event).unwrap();
        adi.set_vector(1, Some(&trigger)).unwrap();
        assert!(adi.set_vector(2, Some(&trigger)).is_err());
        assert!(!is_readable(trigger.as_fd()));

        let mut reply = Vec::new();
        let mut asked = VportStats {
            vport_id: U32::new(adi.ids().vport),
            ..VportStats::default()
        };
        adi.request(op::GET_STATS, asked.as_bytes(), &mut reply)
            .unwrap();
        assert!(VportStats::read_from_bytes(&reply).is_ok());
        asked.vport_id.set(99);
        let refused = adi.request(op::GET_STATS, asked.as_bytes(), &mut reply);
        let text = refused.unwrap_err().to_string();
        assert!(text.ends_with(": ERR_ENXIO"), "{text}");
        let refused = adi.request(op::DESTROY_VPORT, asked.as_bytes(), &mut reply);
        assert!(matches!(refused, Err(AdiError::Refused { .. })));
        adi.reset().unwrap();
        assert!(!is_readable(adi.fault()));
    }

    #[test]
    fn resources_return_when_an_adi_is_closed_and_it_is_gone_with_the_nic() {
        let nic = nic();
        for _ in 0..10 {
            let all = nic.create(&spec(4)).unwrap();
            let more = nic.create(&spec(1)).map(|_| ());
            assert!(matches!(more, Err(AdiError::Refused { .. })));
            drop(all);
        }
        let mut adi = nic.create(&spec(1)).unwrap();
        nic.into_nic().stop().unwrap();
        assert!(is_readable(adi.gone()));
        assert!(matches!(adi.reset(), Err(AdiError::Gone)));
    }
}
