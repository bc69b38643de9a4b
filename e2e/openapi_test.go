package e2e_test

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestOpenAPI holds docs/openapi.yaml against the program: every operation of
// the file is there, answers without credentials with a status that the file
// lists, or one that every refusal may have, and no method beside those of the
// file is.
func TestOpenAPI(t *testing.T) {
	p := startDev(t)
	src, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Paths) < 20 {
		t.Fatalf("the file has only %d paths", len(doc.Paths))
	}
	sample := strings.NewReplacer("{tenant_id}", "acme", "{account}", "iadvize", "{resource}", "contacts", "{id}", "1")
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}
	for path, item := range doc.Paths {
		base := p.issuer
		if _, elsewhere := item["servers"]; elsewhere {
			base = p.broker
		}
		for _, method := range methods {
			operation, listed := item[strings.ToLower(method)].(map[string]any)
			r, err := http.NewRequest(method, base+sample.Replace(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if !listed {
				// A guard answers 401 before it looks at the method.
				if !slices.Contains([]int{401, 404, 405}, answer.StatusCode) {
					t.Errorf("%s %s is not in the file and answers %d", method, path, answer.StatusCode)
				}
				continue
			}
			status := answer.StatusCode
			if to, guarded := throughBroker(path); guarded && status == http.StatusUnauthorized {
				// With a token, so that the path itself is judged.
				if r, err = http.NewRequest(method, p.broker+sample.Replace(to), strings.NewReader("{}")); err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if answer, err = http.DefaultClient.Do(r); err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode == http.StatusNotFound {
					t.Errorf("%s %s is in the file and not there", method, path)
				}
			}
			responses, _ := operation["responses"].(map[string]any)
			_, documented := responses[strconv.Itoa(status)]
			if !documented && !slices.Contains([]int{400, 401}, status) {
				t.Errorf("%s %s answers %d, which the file does not list", method, path, status)
			}
		}
	}
}

// throughBroker returns the path by which the broker reaches a guarded API.
func throughBroker(path string) (string, bool) {
	for prefix, to := range map[string]string{
		"/iadvize/": "/to/iadvize/", "/altrata/v1/": "/to/altrata/v1/",
		"/alvys/v1/": "/to/alvys/", "/web1on1/v2/{": "/to/web1on1/{",
	} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return to + rest, true
		}
	}
	return "", false
}
