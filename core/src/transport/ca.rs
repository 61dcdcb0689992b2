//! A certificate authority for development and tests.
//!
//! It keeps its key in memory, knows no revocation, and its certificates are valid until the year 2100. A production
//! cluster gets its certificates elsewhere; all that a `Mesh` asks of them is one URI among the subject
//! alternative names, `peaberry://CLUSTER/peer/NUMBER` (see [`PeerIdentity`](crate::PeerIdentity)), and the extended
//! key usages of both a TLS client and a TLS server, if any.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::peer::PeerId;
use crate::transport::identity::{ClusterId, PeerIdentity};

/// Issues certificates to the peers of one cluster. For development and tests; see the [module](self).
///
/// ```
/// use peaberry_core::ca::DevelopmentCa;
/// use peaberry_core::{ClusterId, PeerId};
///
/// let ca = DevelopmentCa::new(ClusterId::new(7).unwrap()).unwrap();
/// let issued = ca.issue(PeerId::new(1).unwrap()).unwrap();
/// assert!(issued.certificate_pem.contains("BEGIN CERTIFICATE"));
///
/// // A parent process hands the authority on as text.
/// let same = DevelopmentCa::from_pem(ca.cluster(), ca.certificate_pem(), &ca.key_pem()).unwrap();
/// assert_eq!(same.certificate_pem(), ca.certificate_pem());
/// ```
pub struct DevelopmentCa {
    cluster: ClusterId,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for DevelopmentCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevelopmentCa")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// A peer's certificate and key, and the authority that vouches for it, as PEM texts.
#[derive(Clone)]
#[non_exhaustive]
pub struct Issued {
    /// Whom the certificate names.
    pub identity: PeerIdentity,
    /// The peer's certificate.
    pub certificate_pem: String,
    /// The peer's private key. Keep it secret.
    pub key_pem: String,
    /// The authority's certificate.
    pub authority_pem: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why a certificate could not be made or an authority not be read. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// A key or a certificate could not be made.
    #[error("could not make a key or a certificate")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The text is not an authority's certificate and key.
    #[error("could not read the authority's certificate and key")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DevelopmentCa {
    /// A new authority, with a new key, for `cluster`.
    ///
    /// # Errors
    ///
    /// [`CaError::Make`]: the system has no randomness to give.
    pub fn new(cluster: ClusterId) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = lasting(format!("peaberry development authority of {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certified = CertifiedIssuer::self_signed(params, key).map_err(make)?;
        let certificate_pem = certified.pem();
        let key_pem = certified.key().serialize_pem();
        Self::from_pem(cluster, &certificate_pem, &key_pem)
    }

    /// The authority whose [`certificate_pem`](Self::certificate_pem) and [`key_pem`](Self::key_pem) these are.
    ///
    /// # Errors
    ///
    /// [`CaError::Read`].
    pub fn from_pem(
        cluster: ClusterId,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem).map_err(read)?;
        Ok(Self {
            cluster,
            certificate_pem: certificate_pem.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate_pem, key).map_err(read)?,
        })
    }

    /// A certificate and a new key for `peer`. A later one for the same peer is as good: so certificates rotate.
    ///
    /// # Errors
    ///
    /// [`CaError::Make`].
    pub fn issue(&self, peer: PeerId) -> Result<Issued, CaError> {
        let identity = PeerIdentity {
            cluster: self.cluster,
            peer,
        };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = lasting(peer.to_string());
        let uri = identity.to_string().try_into().map_err(make)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Issued {
            identity,
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            authority_pem: self.certificate_pem.clone(),
        })
    }

    /// The cluster whose peers it vouches for.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The authority's own certificate, which every peer must have.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key: whoever has it can be any peer of the cluster.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}

fn make(error: rcgen::Error) -> CaError {
    CaError::Make(error.into())
}

fn read(error: rcgen::Error) -> CaError {
    CaError::Read(error.into())
}

/// Valid in any year a developer's machine may believe to live in.
fn lasting(common_name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}
