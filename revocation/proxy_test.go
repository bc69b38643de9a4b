package revocation

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store/storetest"
)

// A reverse proxy that is set up like any other keeps nothing back.
func TestThroughNginx(t *testing.T) {
	log := NewLog(new(Table))
	server := httptest.NewServer(log)
	defer server.Close()
	defer log.Close()
	address := startNginx(t, "gzip on;\ngzip_types *;\ngzip_min_length 0;\ngzip_proxied any;\nproxy_buffering on;\n", "proxy_pass "+server.URL+";")
	s := &Stream{URL: "http://" + address + "/", Key: jeton.NewSecret(guardKey), Table: new(Table), Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for n := 1; n <= 5; n++ {
		log.Table().Confirm(time.Now())
		log.Add(mixed(n, n)...)
		eventually(t, func() bool { return slices.Equal(contents(s.Table), contents(log.Table())) }, "the guard hears of event %d", n)
		by := time.Now()
		log.Table().Confirm(by)
		eventually(t, func() bool {
			age, ok := s.Table.Age(time.Now())
			return ok && age < time.Since(by)+time.Second
		}, "the guard hears that this was all")
	}
}

// startNginx starts an nginx with settings for all and for the one location that
// there is, and returns its address.
func startNginx(t *testing.T, all, location string) (address string) {
	t.Helper()
	address, err := storetest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := "daemon off;\nworker_processes 1;\npid " + dir + "/pid;\nevents {}\nhttp {\naccess_log off;\n" + all
	if os.Getuid() == 0 {
		text = "user root;\n" + text // else the workers could not write in dir
	}
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	text += "server { listen " + address + "; location / { " + location + " } }\n}\n"
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // which is in no user's path
	}
	output := new(lockedBuffer)
	cmd := exec.Command(path, "-e", "stderr", "-p", dir, "-c", config)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(output)
		}
	})
	return address
}
