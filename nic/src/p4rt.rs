// SPDX-License-Identifier: Apache-2.0 OR MIT
//! P4Runtime for the device: installs committed programs in the data path.

use std::path::PathBuf;
use std::sync::Arc;

use adit_p4runtime::server::{listen, Address, Listening, Pipeline, PipelineHandle, Server, Tls};
use adit_pipeline::p4::Engine;
use anyhow::{anyhow, Context};

use crate::function::Shared;

/// The options of the P4Runtime server.
#[derive(Clone, Debug)]
pub struct P4Rt {
    /// The address to listen on.
    pub address: Address,
    /// The device id that clients use.
    pub device_id: u64,
    /// The certificate, if it is served over TLS.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
    /// The CA certificates for clients.
    pub clients: Option<PathBuf>,
}

struct Handle(Arc<Shared>);

impl PipelineHandle for Handle {
    fn commit(&self, engine: Arc<Engine>) -> Result<(), String> {
        self.0.set_program(&engine);
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.0.now()
    }

    fn packets_wait(&self) {
        self.0.wake();
    }
}

impl P4Rt {
    /// Starts the server; it runs until the returned handle is dropped.
    pub(crate) fn serve(&self, shared: &Arc<Shared>) -> anyhow::Result<Listening> {
        let engine = shared.lock().datapath().engine().cloned();
        let pipeline = engine.map(Pipeline::of_engine).transpose();
        let pipeline = pipeline.map_err(|why| anyhow!("the program's ids: {why}"))?;
        let handle = Arc::new(Handle(shared.clone()));
        let server = Server::new(self.device_id, handle, pipeline);
        let listening = listen(server, &self.address, self.tls()?)
            .with_context(|| format!("serving P4Runtime at {:?}", self.address))?;
        tracing::info!(address = %listening.address, "P4Runtime");
        Ok(listening)
    }

    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(Some(Tls {
            certificate: read(certificate)?,
            key: read(key)?,
            clients: self.clients.as_ref().map(read).transpose()?,
        }))
    }
}
