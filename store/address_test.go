package store_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/store"
)

func TestParseAddress(t *testing.T) {
	a, err := store.ParseAddress("redis://ann%40x@a:1,b,[::1]:3,[::2]/0?prefix=p%2Fq")
	if err != nil {
		t.Fatal(err)
	}
	if a.Scheme != "redis" || a.User != "ann@x" || a.Path != "0" || a.Query.Get("prefix") != "p/q" {
		t.Errorf("%+v", a)
	}
	if want := []string{"a:1", "b:6379", "[::1]:3", "[::2]:6379"}; !slices.Equal(a.HostPorts("6379"), want) {
		t.Errorf("hosts %q, want %q", a.HostPorts("6379"), want)
	}
	if prefix, err := a.Prefix(); prefix != "p/q" || err != nil {
		t.Errorf("prefix %q, %v", prefix, err)
	}
	if err := a.Only("prefix"); err != nil {
		t.Error(err)
	}
	if err := a.Only("size"); err == nil || !strings.Contains(err.Error(), `unknown name "prefix"`) {
		t.Error(err)
	}
	if text := a.String(); text != "redis://ann%40x@a:1,b,[::1]:3,[::2]/0?prefix=p%2Fq" {
		t.Errorf("%s", text)
	}
	a, err = store.ParseAddress("etcd://a")
	if prefix, prefixErr := a.Prefix(); err != nil || prefixErr != nil || prefix != "jeton" || a.User != "" || a.Path != "" {
		t.Errorf("%+v, %v, prefix %q, %v", a, err, prefix, prefixErr)
	}
	for _, prefix := range []string{"", "{a}", "a b", "/a", strings.Repeat("a", 41)} {
		a, err := store.ParseAddress("etcd://a?prefix=" + prefix)
		if err == nil {
			_, err = a.Prefix()
		}
		if err == nil {
			t.Errorf("the prefix %q is good", prefix)
		}
	}
}

// A URL with a password is refused wherever the password stands, also where a
// sign in it makes the rest look like something else.
func TestParseAddressRefuses(t *testing.T) {
	for _, text := range []string{
		"redis://ann:hunter2@host:1/0", "redis://:hunter2@host", "redis://ann:@host", "redis://ann:hunter2@a,b:2",
		"redis://ann:hunter2/x@host", "redis://ann:12/hunter2@host", "redis://ann:12?hunter2@host", "redis://ann:12#hunter2@host",
		"postgres://host/db?password=hunter2", "postgres://host/db?sslpassword=hunter2", "postgres://host/db?PassWord=hunter2",
	} {
		if a, err := store.ParseAddress(text); !errors.Is(err, store.ErrPassword) {
			t.Errorf("%s: %+v, %v; want ErrPassword", text, a, err)
		}
	}
	for _, text := range []string{
		"", "redis", "redis:", "redis://", "redis:///0", "redis://host:hunter2", "redis://a,,b", "redis://a:1:2", "redis://a#hunter2",
		"redis://ho st", "re dis://host", "redis://%zz", "redis://host?a=%zz", "redis://host?prefix=a&prefix=b", "redis:// ann:hunter2",
	} {
		a, err := store.ParseAddress(text)
		if err == nil {
			t.Errorf("%q is good: %+v", text, a)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows it: %v", text, err)
		}
	}
}

// Nothing that is not a secret of its own may show one.
func FuzzParseAddress(f *testing.F) {
	f.Add("redis://ann@host:1,[::1]/0?prefix=a")
	f.Add("redis://ann:hunter2@host")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := store.ParseAddress(text)
		if err != nil {
			return
		}
		again, err := store.ParseAddress(a.String())
		if err != nil || !slices.Equal(a.Hosts, again.Hosts) || a.User != again.User || a.Path != again.Path {
			t.Errorf("%q is %+v, then %+v, %v", text, a, again, err)
		}
		for _, host := range a.HostPorts("1") {
			if strings.ContainsAny(host, "@/?#,") {
				t.Errorf("%q has the host %q", text, host)
			}
		}
	})
}
