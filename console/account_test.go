package console

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
)

// TestAccounts: an application that logs in with a signed assertion is given its
// public key, and another one later; nothing that was typed is shown again.
func TestAccounts(t *testing.T) {
	b := open(t, base)
	w, realm := b.signedIn(), b.realms["okta"]
	const list = "/console/realms/okta/applications"
	first, public := newPair(t)
	page := w.get(list + "/new")
	want(t, page, http.StatusOK, "var-client_id", "var-private_key", "the public one is enough", "Its kid")
	r := w.post(list+"/new", "name", "import", "scope", "okta.users.read", "var-domain", "acme.okta.example", "var-client_id", "0oa1", "var-key_id", "k1",
		"var-private_key", strings.ReplaceAll(public, "\n", "\r\n"))
	want(t, r, http.StatusOK, "Application created", "It logs in with client_id, domain, key_id, private_key")
	if strings.Contains(r.body, "PUBLIC KEY") {
		t.Error("the page shows the key")
	}
	login := func(key, id string) int {
		d := realm.Dialect()
		origin, _ := url.Parse(realm.URL())
		req, err := d.WriteRequest(t.Context(), d.Login, origin, jeton.Vars{"domain": "acme.okta.example", "client_id": "0oa1", "key_id": id, "private_key": key, "scope": "okta.users.read"})
		if err != nil {
			t.Fatal(err)
		}
		out := httptest.NewRecorder()
		http.StripPrefix(origin.Path, realm).ServeHTTP(out, req)
		return out.Code
	}
	if got := login(first, "k1"); got != http.StatusOK {
		t.Fatalf("a login is answered %d", got)
	}
	second, next := newPair(t)
	replace := w.get(list).follow(t, "/account?")
	want(t, w.get(replace), http.StatusOK, "Replace credentials")
	want(t, w.post(replace, "var-domain", "acme.okta.example", "var-client_id", "0oa1", "var-key_id", "k2", "var-private_key", next), http.StatusSeeOther)
	if old, now := login(first, "k1"), login(second, "k2"); old != http.StatusUnauthorized || now != http.StatusOK {
		t.Errorf("after the change the old key is answered %d, the new one %d", old, now)
	}
	want(t, w.post(list+"/new", "name", "x", "var-domain", "acme.okta.example", "var-client_id", "0oa2", "var-key_id", "k1"),
		http.StatusUnprocessableEntity, "private_key is empty", "0oa2")
	want(t, w.get("/console/realms/okta/users"), http.StatusNotFound)
}

func newPair(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = encode("PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	return private, encode("PUBLIC KEY", der, err)
}
