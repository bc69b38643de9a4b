package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A crowd sends one request again and again over connections that stay open. It
// does no more than it must, so that what is measured is the server.
type crowd struct {
	request []byte
	conns   []*loadConn
}

type loadConn struct {
	net.Conn
	in    *bufio.Reader
	times []time.Duration // of the answers of one slice
}

// newCrowd connects to a server and tries the request once on each connection.
func newCrowd(b *testing.B, addr, request string, connections int) *crowd {
	b.Helper()
	cr := &crowd{request: []byte(request)}
	for range connections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close() })
		one := &loadConn{Conn: c, in: bufio.NewReaderSize(c, 64<<10)}
		if err := one.call(cr.request); err != nil {
			b.Fatal(err)
		}
		cr.conns = append(cr.conns, one)
	}
	return cr
}

// A slice is what a crowd saw in a length of time.
type slice struct {
	rate float64 // answers a second
	p99  float64 // seconds
	cpu  float64 // seconds of the process for each answer, which another process cannot spoil as it does the rest
}

// run calls on all connections for a length of time.
func (cr *crowd) run(b *testing.B, length time.Duration) slice {
	b.Helper()
	var all sync.WaitGroup
	began, cpu := time.Now(), cpuTime(b)
	for _, c := range cr.conns {
		all.Go(func() {
			c.times = c.times[:0]
			for from := time.Now(); from.Sub(began) < length; {
				if err := c.call(cr.request); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				c.times = append(c.times, now.Sub(from))
				from = now
			}
		})
	}
	all.Wait()
	took, used := time.Since(began), cpuTime(b)-cpu
	var times []time.Duration
	for _, c := range cr.conns {
		times = append(times, c.times...)
	}
	if len(times) == 0 {
		b.Fatal("no call ended in time")
	}
	slices.Sort(times)
	return slice{float64(len(times)) / took.Seconds(), times[len(times)*99/100].Seconds(), used.Seconds() / float64(len(times))}
}

// cpuTime returns how much of the processors this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// call sends the request and reads the answer, which is to be a 200 with its
// length given.
func (c *loadConn) call(request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	length, first := -1, true
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %q", line)
		}
		first = false
		if len(line) <= 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("an answer of no length")
	}
	_, err := io.CopyN(io.Discard, c.in, int64(length))
	return err
}

// compare runs two crowds in turn, in slices short enough that what else the
// machine does falls on both, and reports how ours is to the peer: medians over
// the rounds, of which each has a ratio.
func compare(b *testing.B, ours, peer *crowd) {
	const rounds, length = 50, 100 * time.Millisecond
	list := map[string][]float64{}
	add := func(name string, value float64) { list[name] = append(list[name], value) }
	for b.Loop() {
		for i := range rounds {
			var o, p slice
			if i%2 == 0 {
				o, p = ours.run(b, length), peer.run(b, length)
			} else {
				p, o = peer.run(b, length), ours.run(b, length)
			}
			add("rate-ratio", o.rate/p.rate)
			add("p99-ratio", o.p99/p.p99)
			add("cpu-ratio", o.cpu/p.cpu)
			add("ours/s", o.rate)
			add("peer/s", p.rate)
			add("ours-cpu-us", o.cpu*1e6)
			add("peer-cpu-us", p.cpu*1e6)
			add("ours-p99-us", o.p99*1e6)
			add("peer-p99-us", p.p99*1e6)
		}
	}
	b.ReportMetric(0, "ns/op")
	for name, values := range list {
		b.ReportMetric(median(values), name)
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}
