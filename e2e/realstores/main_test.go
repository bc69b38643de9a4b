//go:build realstores && linux

// Package realstores examines the stores on Vault and Kubernetes with real
// servers, which it builds. See README.md.
package realstores

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

var etcd *storetest.Server // of the API server; has its certificate

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if etcd, err = storetest.StartEtcd(); err != nil {
		return 0, err
	}
	defer etcd.Close()
	if err := errors.Join(build("vault", ".", program("vault")),
		build("kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", program("kube-apiserver"))); err != nil {
		return 0, err
	}
	if err := startKubernetes(); err != nil {
		return 0, err
	}
	defer api.stop()
	return m.Run(), nil
}

// program is where a server is built: in a folder that goes in the end.
func program(name string) string { return filepath.Join(etcd.Dir, name) }

// build builds a server of the module in a folder. That takes minutes the first
// time, and a file of a few hundred megabytes.
func build(folder, pkg, to string) error {
	c := exec.Command("nice", "go", "build", "-o", to, pkg)
	c.Dir = folder
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// command runs a server that dies with this process.
func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(program(name), args...)
	c.Dir = etcd.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// soon is how long a server may take to do what it does at once: the machine may
// be busy.
const soon = 2 * time.Minute

// until waits for done to have no error.
func until(done func() error) error {
	for end := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		err := done()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
