//go:build !linux

package main

import (
	"log/slog"
	"net"
)

// knowsPeers says that the configuration refuses a list of users.
const knowsPeers = false

// A peerListener is for Linux.
type peerListener struct {
	net.Listener
	uids   []int
	logger *slog.Logger
}
