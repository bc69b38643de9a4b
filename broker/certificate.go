package broker

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
)

// certified are the transports that show a client certificate (RFC 8705), one
// for each: connections are not shared between them. The zero value has none.
type certified struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]http.RoundTripper // :: digest of the certificate -> its transport
}

// maxCertified bounds how many are kept; a rotated certificate is a new one.
const maxCertified = 256

// A Certifier is a transport that can show a client certificate. [Broker.HTTP]
// need not be one: an [*http.Transport] is cloned.
type Certifier interface {
	http.RoundTripper

	// WithCertificate returns a transport that shows the certificate and is
	// else as this one.
	WithCertificate(c tls.Certificate) http.RoundTripper
}

// transport returns how a vendor is reached by whom shows a certificate: the
// broker's own transport with that certificate, or as it is if there is none.
// The error is one of the certificate's.
func (b *Broker) transport(c *tls.Certificate, err error) (http.RoundTripper, error) {
	if c == nil || err != nil {
		return b.HTTP, err
	}
	if !ownKey(c) {
		return nil, errors.New("broker: the private key is not that of the client certificate")
	}
	if other, ok := b.HTTP.(Certifier); ok {
		return other.WithCertificate(*c), nil
	}
	own, ok := b.HTTP.(*http.Transport)
	if !ok {
		return nil, errors.New("broker: the transport cannot show a client certificate; use an *http.Transport or a Certifier")
	}
	digest := sha256.Sum256(c.Certificate[0])
	b.certified.mu.Lock()
	defer b.certified.mu.Unlock()
	if t, ok := b.certified.known[digest]; ok {
		return t, nil
	}
	if b.certified.known == nil || len(b.certified.known) >= maxCertified {
		b.certified.known = map[[sha256.Size]byte]http.RoundTripper{}
	}
	t := own.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.Certificates = []tls.Certificate{*c}
	b.certified.known[digest] = t
	return t, nil
}

// ownKey reports whether the private key is the certificate's.
func ownKey(c *tls.Certificate) bool {
	signer, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.Leaf.PublicKey)
}

// certifiedBy returns the transport of calls: base, or if calls show a
// certificate the broker's with that.
func (b *Broker) certifiedBy(w *way, base http.RoundTripper) (http.RoundTripper, error) {
	if w.shows == nil && w.hidden == nil {
		return base, nil
	}
	return b.transport(w.shows, w.hidden)
}
