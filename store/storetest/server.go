package storetest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	chance "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// A Server is a database server or a proxy of the machine, on loopback, with its data in a
// folder of its own. It dies with the process that started it.
type Server struct {
	Addr    string      // HOST:PORT
	AddrTLS string      // where it speaks TLS; PostgreSQL does so at Addr
	TLS     *tls.Config // trusts it
	Dir     string      // has its certificate in cert.pem

	program string
	args    []string
	env     []string            // nil: that of the test
	as      *syscall.Credential // nil: whoever runs the test
	quit    os.Signal           // ends it soon, with nothing lost
	ready   func(ctx context.Context) error

	cmd    *exec.Cmd
	output bytes.Buffer // of the program; read when it ended
	ended  chan struct{}
}

// patience bounds every wait for a server. It is long, since the machine may be
// busy.
const patience = time.Minute

// StartRedis starts a Redis that keeps its data when it is restarted.
func StartRedis() (*Server, error) {
	return start("redis", nil, func(s *Server) error {
		host, port, _ := net.SplitHostPort(s.Addr)
		s.program, s.quit, s.ready = "redis-server", syscall.SIGTERM, s.pong
		_, portTLS, _ := net.SplitHostPort(s.AddrTLS)
		s.args = []string{"--bind", host, "--port", port, "--tls-port", portTLS, "--tls-auth-clients", "no",
			"--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem",
			"--dir", s.Dir, "--save", "", "--appendonly", "yes"}
		return nil
	})
}

// pong asks for an answer.
func (s *Server) pong(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	answer := make([]byte, len("+PONG"))
	if _, err = io.WriteString(c, "PING\r\n"); err == nil {
		_, err = io.ReadFull(c, answer)
	}
	if err == nil && string(answer) != "+PONG" {
		err = fmt.Errorf("it answers %q", answer)
	}
	return err
}

// StartPostgres starts a PostgreSQL. It trusts the superuser postgres and asks
// all others for a password.
func StartPostgres() (*Server, error) {
	as, err := otherUser("postgres")
	if err != nil {
		return nil, err
	}
	return start("postgres", as, func(s *Server) error {
		initdb, err := postgresProgram("initdb")
		if err != nil {
			return err
		}
		data := filepath.Join(s.Dir, "data")
		cmd := exec.Command(initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
		cmd.Dir, cmd.SysProcAttr = s.Dir, &syscall.SysProcAttr{Credential: as}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w\n%s", err, out)
		}
		hba := "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
		if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
			return err
		}
		isReady, err := postgresProgram("pg_isready")
		if err != nil {
			return err
		}
		host, port, _ := net.SplitHostPort(s.Addr)
		s.ready = func(ctx context.Context) error {
			return exec.CommandContext(ctx, isReady, "-q", "-h", host, "-p", port).Run()
		}
		s.program, err = postgresProgram("postgres")
		s.quit = syscall.SIGINT // a fast shutdown: does not wait for clients
		s.args = []string{"-D", data, "-p", port, "-k", s.Dir, "-c", "listen_addresses=" + host, "-c", "fsync=off",
			"-c", "ssl=on", "-c", "ssl_cert_file=../cert.pem", "-c", "ssl_key_file=../key.pem"}
		return err
	})
}

// postgresProgram finds a program of PostgreSQL, which Debian keeps apart.
func postgresProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", err
	}
	return found[len(found)-1], nil
}

// otherUser returns who is to run a server that refuses to run as root; nil
// where the test is not run as root.
func otherUser(name string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// StartEtcd starts an etcd of one member.
func StartEtcd() (*Server, error) {
	return start("etcd", nil, func(s *Server) error {
		peer, err := FreeAddr()
		s.program, s.quit = "etcd", syscall.SIGTERM
		s.ready = func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/health", nil)
			if err != nil {
				return err
			}
			answer, err := http.DefaultClient.Do(r)
			if err == nil {
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					err = errors.New(answer.Status)
				}
			}
			return err
		}
		s.args = []string{"--data-dir", filepath.Join(s.Dir, "data"), "--log-level", "error",
			"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer,
			"--initial-cluster", "default=http://" + peer, "--advertise-client-urls", "http://" + s.Addr,
			"--listen-client-urls", "http://" + s.Addr + ",https://" + s.AddrTLS,
			"--cert-file", "cert.pem", "--key-file", "key.pem"}
		return err
	})
}

// FreeAddr returns a loopback address on which nobody listens, for a program
// that is to listen there or to come back there. Its port is not one that the
// system gives to connections by itself (32768 and up on Linux), or another
// test's connection could have it in the meantime. No address is given twice:
// who has one may not listen there yet, or not at the moment.
func FreeAddr() (string, error) {
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+(firstPort+nextPort.Add(1))%22000)
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("storetest: no port is free: %w", err)
}

// The ports of one process follow one another, from where chance has it: so
// those of two rarely meet.
var (
	firstPort = chance.Int64N(22000)
	nextPort  atomic.Int64
)

// start makes a server as prepare says and starts it.
func start(name string, as *syscall.Credential, prepare func(*Server) error) (_ *Server, err error) {
	s := &Server{as: as}
	defer func() {
		if err != nil && s.Dir != "" {
			_ = os.RemoveAll(s.Dir)
		}
	}()
	if s.Dir, err = os.MkdirTemp("", "jeton-"+name+"-"); err != nil {
		return nil, err
	}
	if s.TLS, err = writeCertificate(s.Dir); err != nil {
		return nil, err
	}
	for _, name := range []string{"", "cert.pem", "key.pem"} {
		if as != nil {
			if err := os.Chown(filepath.Join(s.Dir, name), int(as.Uid), int(as.Gid)); err != nil {
				return nil, err
			}
		}
	}
	if s.Addr, err = FreeAddr(); err == nil {
		s.AddrTLS, err = FreeAddr()
	}
	if err == nil {
		err = prepare(s)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("storetest: start %s (./test installs it): %w", name, err)
	}
	return s, nil
}

// writeCertificate makes a certificate for 127.0.0.1 that is its own authority,
// and returns what trusts it.
func writeCertificate(dir string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: roots}, errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// Start starts the server after Stop, with the data that it had.
func (s *Server) Start() error {
	s.output.Reset()
	s.cmd = exec.Command(s.program, s.args...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.Dir, s.env, &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	dieWithParent(s.cmd.SysProcAttr)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func(ended chan struct{}, cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(ended)
	}(s.ended, s.cmd)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended: %v\n%s", s.cmd.ProcessState, s.output.String())
		case <-ctx.Done():
			s.Stop()
			return fmt.Errorf("it does not answer: %w\n%s", err, s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server. Its data stays.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(s.quit)
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
}

// Close ends the server and removes its data.
func (s *Server) Close() {
	s.Stop()
	_ = os.RemoveAll(s.Dir)
}
