package storetest

import "syscall"

// dieWithParent has the kernel end a server whose test was killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
