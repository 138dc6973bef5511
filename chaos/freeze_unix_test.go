//go:build unix

package chaos

import "syscall"

// freeze takes the processor from the process, as a machine does that swaps or moves a virtual one; it goes on when it is thawed.
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }

func (p *process) thaw() { p.signal(syscall.SIGCONT) }
