package natsengine_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"eureka"
)

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	e, err := open(dir)
	if err == nil {
		for i := range 5000 {
			if _, err = e.Channels().Create(t.Context(), eureka.Channel{ID: fmt.Sprint("c", i), Desc: strings.Repeat("x", 2000)}); err != nil {
				break
			}
		}
		defer func() { _ = e.Close(context.Background()) }()
	}
	if eureka.CodeOf(err) != eureka.CodeUnavailable {
		t.Errorf("a full disk is %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Skipf("a read-only file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	for _, path := range []string{dir, dir + "/below"} {
		if _, err := open(path); eureka.CodeOf(err) != eureka.CodeForbidden || !strings.Contains(eureka.MessageOf(err), "cannot be written") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUnwritableDirectory(t *testing.T) {
	if syscall.Getuid() == 0 {
		t.Skip("root may write everywhere; TestReadOnlyDirectory stands in")
	}
	dir := t.TempDir()
	if err := syscall.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir); eureka.CodeOf(err) != eureka.CodeForbidden {
		t.Errorf("got %v", err)
	}
}
