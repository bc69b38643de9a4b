package learn_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/dialect/learn"
)

func TestHAR(t *testing.T) {
	src, err := os.ReadFile("testdata/har/browser.har")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		entry int
		want  string
	}{
		{0, `dialect: har-vendor
token:
  POST: https://app.har-vendor.com/api/v1/auth/login
  headers: {x-client-version: "4.2"}
  json: {email: $username, password: $password}
  returns: {data: {access_token: $access_token, expires_in: $expires_in}}
call: https://app.har-vendor.com/api/v1
verify: {GET: /me}
`},
		{5, "dialect: har-other\ntoken: https://id.har-other.com/token\n"},
	} {
		d, err := learn.HAR(src, c.entry, learn.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(modeline+c.want, string(d.YAML())); diff != "" {
			t.Error(diff)
		}
		if err := d.Check(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzHAR: whatever an archive holds, reading it ends without a panic.
func FuzzHAR(f *testing.F) {
	src, err := os.ReadFile("testdata/har/browser.har")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(src, 0)
	f.Add([]byte(`{"log":{"entries":[{"request":{"method":"POST","url":"https://a.example/token","postData":{"text":"a=b"}},"response":{"status":200,"content":{"text":"{\"token\":\"x\"}"}}}]}}`), 1)
	f.Fuzz(func(t *testing.T, src []byte, entry int) {
		d, err := learn.HAR(src, entry, learn.Options{})
		if err == nil && len(d.YAML()) == 0 || err != nil && !strings.HasPrefix(err.Error(), "learn: ") {
			t.Errorf("neither a dialect nor a reason: %v", err)
		}
	})
}

func TestHARRefusals(t *testing.T) {
	src, err := os.ReadFile("testdata/har/browser.har")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		src   string
		entry int
		want  string
	}{
		{string(src), 6, "the archive has the entries 1 to 5"},
		{string(src), -1, "the archive has the entries 1 to 5"},
		{string(src), 2, "none of the commands looks like a login"},
		{`{"log": {"entries": []}}`, 0, "no entry of the archive looks like a login; choose one with --entry"},
		{`password=S3cret99`, 0, "the file is no HTTP archive"},
	} {
		if _, err := learn.HAR([]byte(c.src), c.entry, learn.Options{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "S3cret99") {
			t.Errorf("entry %d: got %v, want %s", c.entry, err, c.want)
		}
	}
}
