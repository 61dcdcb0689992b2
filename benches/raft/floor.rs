//! What a durable proposal costs at least: a synced write, and a round trip over mutual TLS.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::{Failure, VALUE_BYTES};

const COUNT: usize = 2000;
/// Sectors of a file written before, so that a sync has no block to give out.
const FILE_BYTES: usize = 4 << 20;
const SECTOR_BYTES: usize = 512;

/// How long it takes to write a value into a zeroed file and `fdatasync` it, many times.
pub(crate) fn synced_writes(folder: &Path) -> Result<Vec<Duration>, Failure> {
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(folder.join("floor"))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let mut offsets = (0..FILE_BYTES as u64).step_by(SECTOR_BYTES).cycle();
    repeat(|| {
        let offset = offsets.next().ok_or("an endless cycle")?;
        file.write_all_at(&[7; VALUE_BYTES], offset)?;
        Ok(file.sync_data()?)
    })
}

/// How long a value takes to another thread and back, over mutual TLS on loopback, many times.
pub(crate) fn round_trips() -> Result<Vec<Duration>, Failure> {
    let authority = authority()?;
    let (server, client) = (server_config(&authority)?, client_config(&authority)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let connection = ServerConnection::new(server).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let mut value = [0; VALUE_BYTES];
        for _ in 0..COUNT {
            stream.read_exact(&mut value)?;
            stream.write_all(&value)?;
            stream.flush()?;
        }
        Ok(())
    });
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let connection = ClientConnection::new(client, ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut value = [7; VALUE_BYTES];
    let times = repeat(|| {
        stream.write_all(&value)?;
        stream.flush()?;
        Ok(stream.read_exact(&mut value)?)
    })?;
    echo.join().map_err(|_| "the echo thread panicked")??;
    Ok(times)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the machine's own time"
)]
fn repeat(mut act: impl FnMut() -> Result<(), Failure>) -> Result<Vec<Duration>, Failure> {
    (0..COUNT)
        .map(|_| {
            let start = Instant::now();
            act()?;
            Ok(start.elapsed())
        })
        .collect()
}

type Authority = CertifiedIssuer<'static, KeyPair>;

type Proof = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    Arc<RootCertStore>,
);

fn authority() -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn proof(authority: &Authority) -> Result<Proof, Failure> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let certificate = params.signed_by(&key, authority)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok((vec![certificate.der().clone()], key, Arc::new(roots)))
}

fn server_config(authority: &Authority) -> Result<Arc<ServerConfig>, Failure> {
    let (chain, key, roots) = proof(authority)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn client_config(authority: &Authority) -> Result<Arc<ClientConfig>, Failure> {
    let (chain, key, roots) = proof(authority)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}
