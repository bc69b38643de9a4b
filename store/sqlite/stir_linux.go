package sqlite

import (
	"os"
	"syscall"
	"time"
)

// stir calls stirred when anybody writes to a file, until stop is called; once
// for what comes within a millisecond. A commit may become visible some time
// after it was written.
func stir(path string, stirred func()) (stop func(), err error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := syscall.InotifyAddWatch(fd, path, syscall.IN_MODIFY); err != nil {
		_ = events.Close()
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			if _, err := events.Read(buffer); err != nil {
				return // it was closed
			}
			stirred()
			time.Sleep(time.Millisecond)
		}
	}()
	return func() {
		_ = events.Close()
		<-done
	}, nil
}
