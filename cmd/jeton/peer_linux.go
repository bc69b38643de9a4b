package main

import (
	"log/slog"
	"net"
	"slices"
	"syscall"
)

// knowsPeers says that a Unix socket tells whose process is at its other end.
const knowsPeers = true

// A peerListener lets processes of some users in and closes the connections of
// all others. It asks the kernel (SO_PEERCRED, unix(7)).
type peerListener struct {
	net.Listener
	uids   []int
	logger *slog.Logger
}

// Accept waits for the next process that is let in.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && slices.Contains(l.uids, uid) {
			return c, nil
		}
		l.logger.Warn("a process was turned away from the broker's socket", "uid", uid, "error", err)
		_ = c.Close()
	}
}

// peerUID returns the user of the process at the other end.
func peerUID(c net.Conn) (uid int, err error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	uid = -1
	if control := raw.Control(func(fd uintptr) {
		var peer *syscall.Ucred
		if peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			uid = int(peer.Uid)
		}
	}); control != nil {
		return -1, control
	}
	return uid, err
}
