package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A tlsConfig names a certificate with its chain, and its private key.
type tlsConfig struct {
	cert string // path
	key  reference
}

func (c tlsConfig) load() (*tls.Certificate, error) {
	key, err := c.key.read()
	if err != nil {
		return nil, err
	}
	chain, err := os.ReadFile(c.cert)
	if err != nil {
		return nil, fmt.Errorf("guard.tls: the certificate %s cannot be read: %w", c.cert, reason(err))
	}
	cert, err := tls.X509KeyPair(chain, []byte(key.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("guard.tls: %s and the key do not go together, or are not in PEM", c.cert) // the cause may quote the key
	}
	return &cert, nil
}

// A keyPair is what a server shows its clients. It reads the files again when
// the certificate changed, so that one that is renewed needs no restart.
type keyPair struct {
	from   tlsConfig
	logger *slog.Logger

	mu      sync.Mutex // guards what follows
	cert    *tls.Certificate
	written time.Time // when the file of cert was
	looked  time.Time
}

// lookEvery is how often the file is looked at, at most.
const lookEvery = time.Second

func (k *keyPair) read() (err error) {
	info, err := os.Stat(k.from.cert)
	if err != nil {
		return fmt.Errorf("guard.tls: the certificate %s cannot be read: %w", k.from.cert, reason(err))
	}
	cert, err := k.from.load()
	if err == nil {
		k.cert, k.written = cert, info.ModTime()
	}
	return err
}

// get returns the certificate. One that cannot be read leaves the old one in
// its place; it is tried again at the next look.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) < lookEvery {
		return k.cert, nil
	}
	k.looked = time.Now()
	if info, err := os.Stat(k.from.cert); err == nil && info.ModTime().Equal(k.written) {
		return k.cert, nil
	}
	if err := k.read(); err != nil {
		k.logger.Error("the old certificate is shown, since the new one cannot be", "err", err)
	} else {
		k.logger.Info("the certificate was renewed", "file", k.from.cert)
	}
	return k.cert, nil
}
