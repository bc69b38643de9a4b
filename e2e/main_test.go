// Package e2e_test tries the whole program as its users meet it: it starts the
// real binary, talks to it with curl, npm clients and HTTP, kills it, and reads
// what it left behind. Nothing in here replaces a part of the system.
package e2e_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

// program is the path of the binary under test.
var program string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "jeton-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "jeton")
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../cmd/jeton")...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %w\n%s", err, out)
	}
	// Those that are parallel wait for a lease, a Retry-After or a time-out most
	// of the time, and wait together.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// patience bounds every wait for a process. It is long, since the machine may
// be busy; nothing is right because of how long it took.
const patience = 60 * time.Second

// A process is a running jeton.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan struct{} // closed when it ended
	err            error         // how it ended; read after ended

	issuer, broker string // base URLs, without a slash at the end
}

// start starts jeton and ends it with the test, when it must end well.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, args...), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.interrupt(t) })
	return p
}

// startDev starts jeton dev on free ports.
func startDev(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, append([]string{"dev", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"}, args...)...)
	p.issuer = p.await(t, p.stdout, `(?m)^#\s+issuer and guarded APIs\s+(http://127\.0\.0\.1:\d+)$`)
	p.broker = p.await(t, p.stdout, `(?m)^#\s+broker\s+(http://127\.0\.0\.1:\d+)$`)
	return p
}

// await waits until an output matches and returns the first submatch.
func (p *process) await(t *testing.T, o *output, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		text, grown := o.read()
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-grown:
		case <-p.ended:
			if text, _ := o.read(); re.MatchString(text) {
				continue
			}
			t.Fatalf("%s ended before it printed %s: %v\n%s", p, pattern, p.err, p.stderr)
		case <-timeout:
			t.Fatalf("%s has not printed %s\n%s%s", p, pattern, p.stdout, p.stderr)
		}
	}
}

// String returns the command line.
func (p *process) String() string {
	return strings.Join(append([]string{"jeton"}, p.cmd.Args[1:]...), " ")
}

// interrupt is Ctrl-C. A server that still runs has to end, with exit code 0 and
// with no data race and no panic behind it. That it ends within a second is
// tried in cmd/jeton, where nothing else runs.
func (p *process) interrupt(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		return
	default:
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("%s: %v", p, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("%s does not end", p)
		<-p.ended
	}
	log := p.stderr.String()
	if p.err != nil || strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		t.Errorf("%s ended with %v\n%s", p, p.err, log)
	}
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// run runs a jeton command to its end and returns what it printed.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &talk
	if err := cmd.Run(); err != nil {
		t.Fatalf("jeton %s: %v\n%s%s", strings.Join(args, " "), err, &out, &talk)
	}
	return out.String(), talk.String()
}

// An output collects what a process prints. It is safe for concurrent use.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer  // guarded by mu
	grown chan struct{} // closed at the next write; guarded by mu
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) read() (text string, grown <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.grown
}

func (o *output) String() string {
	text, _ := o.read()
	return text
}

// freeAddress returns a loopback address on which nobody listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	addr, err := storetest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// need fails the test if a program is missing: a test that did not run proves
// nothing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing; ./test installs it", name)
		}
	}
}

// client follows no redirect, since a token endpoint sends none.
var client = &http.Client{
	Timeout:       patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
}

// send sends a request and returns the answer. The error is that of the
// connection.
func send(method, url, body string, header ...string) (answer, error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// ask sends a request that must get an answer.
func ask(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	a, err := send(method, url, body, header...)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

const form = "application/x-www-form-urlencoded"
