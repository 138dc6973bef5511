//go:build unix

package lambda

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup gives a process a group of its own: it ends with what it starts, and a signal of the terminal does not reach it. When this process dies
// unasked, the kernel sends SIGHUP and SIGCONT to groups that are left stopped, so frozen functions end too.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// The errors are those of a process that has ended, which is no error here.

func killGroup(p *os.Process)     { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
func stopGroup(p *os.Process)     { _ = syscall.Kill(-p.Pid, syscall.SIGSTOP) }
func continueGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGCONT) }
