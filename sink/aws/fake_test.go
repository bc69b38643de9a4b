package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fake is a stand-in for AWS Secrets Manager, written after its API
// reference: it is not AWS, and proves only that requests are what the
// reference asks for. It computes each signature by itself (Signature Version
// 4), and takes its time.
type fake struct {
	*httptest.Server
	region string

	mu      sync.Mutex
	keys    map[string]string               // :: access key id -> secret key
	session string                          // that has to come along; empty: none
	secrets map[string]*secret              // :: name
	calls   []string                        // names
	fault   func(call string) (int, string) // status and type to answer with instead; 0: none
	lose    int                             // so many answers are lost, of calls that were executed
	ahead   time.Duration                   // of its clock
	refused []string                        // why a signature was
}

type secret struct {
	versions          map[string]string // :: id -> text
	order             []string
	current, previous string
}

func newFake(t *testing.T) *fake {
	f := &fake{region: "eu-west-1", keys: map[string]string{"AKID": secretKey}, secrets: map[string]*secret{}}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(2 * time.Millisecond)
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(f.ahead).UTC().Format(http.TimeFormat))
	call := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	f.calls = append(f.calls, call)
	refuse := func(status int, kind string) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		// As the real one might, it shows what it was sent.
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.secretsmanager#" + kind, "Message": string(body)})
	}
	if why := f.unsigned(r, body); why != "" {
		f.refused = append(f.refused, why)
		refuse(400, "InvalidSignatureException")
		return
	}
	if f.fault != nil {
		if status, kind := f.fault(call); status != 0 {
			refuse(status, kind)
			return
		}
	}
	var in struct{ SecretId, Name, SecretString, ClientRequestToken string }
	if err := json.Unmarshal(body, &in); err != nil || len(in.ClientRequestToken) < 32 || len(in.ClientRequestToken) > 64 || in.SecretString == "" {
		refuse(400, "InvalidParameterException")
		return
	}
	switch s := f.secrets[in.SecretId+in.Name]; {
	case call == "CreateSecret" && s != nil && s.versions[in.ClientRequestToken] != in.SecretString:
		refuse(400, "ResourceExistsException")
		return
	case call == "CreateSecret" && s == nil:
		f.secrets[in.Name] = &secret{versions: map[string]string{}}
		f.secrets[in.Name].put(in.ClientRequestToken, in.SecretString)
	case call == "CreateSecret":
	case call != "PutSecretValue":
		refuse(400, "InvalidAction")
		return
	case s == nil:
		refuse(400, "ResourceNotFoundException")
		return
	case !s.put(in.ClientRequestToken, in.SecretString):
		refuse(400, "ResourceExistsException")
		return
	}
	if f.lose > 0 {
		f.lose--
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, `{}`)
}

// put is idempotent by the id of a version, and refuses another text for it.
func (s *secret) put(id, text string) bool {
	if there, ok := s.versions[id]; ok {
		return there == text
	}
	s.versions[id], s.order = text, append(s.order, id)
	s.previous, s.current = s.current, id
	return true
}

// unsigned says what is wrong with a request's signature.
func (f *fake) unsigned(r *http.Request, body []byte) string {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	credential := strings.Split(parts["Credential"], "/")
	if scheme != "AWS4-HMAC-SHA256" || len(credential) != 5 {
		return "no signature"
	}
	if !slices.Equal(credential[2:], []string{f.region, "secretsmanager", "aws4_request"}) {
		return "the scope is " + parts["Credential"]
	}
	date := r.Header.Get("X-Amz-Date")
	if at, err := time.Parse("20060102T150405Z", date); err != nil || time.Now().Add(f.ahead).Sub(at).Abs() > 5*time.Minute || !strings.HasPrefix(date, credential[1]) {
		return "the date is " + date
	}
	if r.Header.Get("X-Amz-Security-Token") != f.session {
		return "the session token is another"
	}
	signed := strings.Split(parts["SignedHeaders"], ";")
	for _, name := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(signed, name) {
			return name + " is not signed"
		}
	}
	canonical := r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.RawQuery + "\n"
	for _, name := range signed {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(r.ContentLength)
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + parts["SignedHeaders"] + "\n" + digest(body)
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + strings.Join(credential[1:], "/") + "\n" + digest([]byte(canonical))
	key := []byte("AWS4" + f.keys[credential[0]])
	for _, part := range credential[1:] {
		key = mac(key, part)
	}
	if hex.EncodeToString(mac(key, text)) != parts["Signature"] {
		return "the signature is another"
	}
	return ""
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
