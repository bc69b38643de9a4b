package broker

import (
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/jetonhq/jeton/dialect/law"
)

// TestKeyOfAnotherCertificate: a certificate with the key of another one shows
// nothing, and is not kept in place of the right pair.
func TestKeyOfAnotherCertificate(t *testing.T) {
	certs, _ := law.Keys("certificate")
	keys, _ := law.Keys("key")
	pair := func(i int) tls.Certificate {
		c, err := tls.X509KeyPair([]byte(certs[i]), []byte(keys[i]))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	right, other := pair(0), pair(1)
	wrong := right
	wrong.PrivateKey = other.PrivateKey
	b := &Broker{HTTP: &http.Transport{}}
	if _, err := b.transport(&wrong, nil); err == nil {
		t.Error("it is taken")
	}
	by, err := b.transport(&right, nil)
	if err != nil {
		t.Fatal(err)
	}
	if shown := by.(*http.Transport).TLSClientConfig.Certificates[0]; shown.PrivateKey != right.PrivateKey {
		t.Error("the vendor is shown another key")
	}
	if again, err := b.transport(&right, nil); err != nil || again != by {
		t.Errorf("%v: connections are not shared", err)
	}
}
