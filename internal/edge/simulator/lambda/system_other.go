//go:build !unix

package lambda

import (
	"os"
	"os/exec"
)

// Where there are no process groups, idle functions are not frozen.

func ownGroup(*exec.Cmd)        {}
func killGroup(p *os.Process)   { _ = p.Kill() }
func stopGroup(*os.Process)     {}
func continueGroup(*os.Process) {}
