package jeton

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestWithoutURL(t *testing.T) {
	cause := errors.New("refused")
	failed := &url.Error{Op: "Get", URL: "https://x.test/?key=canary", Err: cause}
	for _, err := range []error{failed, fmt.Errorf("call: %w", failed)} {
		if got := WithoutURL(err); !errors.Is(got, cause) || strings.Contains(got.Error(), "canary") {
			t.Errorf("%v", got)
		}
	}
	if WithoutURL(cause) != cause || WithoutURL(nil) != nil {
		t.Error("another error is not itself any more")
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "127.1": false, "2130706433": false,
	} {
		if IsLoopback(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}
