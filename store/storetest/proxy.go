package storetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// StartNginx starts an nginx whose http block is what conf returns for the
// address where it is to listen, and for its folder.
func StartNginx(conf func(addr, dir string) string) (*Server, error) {
	return start("nginx", nil, func(s *Server) error {
		path, err := exec.LookPath("nginx")
		if err != nil {
			path = "/usr/sbin/nginx" // which is in few users' path
		}
		text := "daemon off;\nworker_processes 1;\npid pid;\nevents { worker_connections 1024; }\nhttp {\naccess_log off;\nkeepalive_requests 1000000000;\n"
		if os.Getuid() == 0 {
			text = "user root;\n" + text // else its workers could not read their folder
		}
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			text += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, s.Dir, kind)
		}
		file := filepath.Join(s.Dir, "nginx.conf")
		s.program, s.args = path, []string{"-e", "stderr", "-p", s.Dir, "-c", file}
		s.quit, s.ready = syscall.SIGTERM, s.listens
		return os.WriteFile(file, []byte(text+conf(s.Addr, s.Dir)+"}\n"), 0o600)
	})
}

// StartCaddy starts a Caddy with the sites that conf returns for the address
// where it is to listen.
func StartCaddy(conf func(addr string) string) (*Server, error) {
	return start("caddy", nil, func(s *Server) error {
		file := filepath.Join(s.Dir, "Caddyfile")
		s.program, s.args = "caddy", []string{"run", "--adapter", "caddyfile", "--config", file}
		s.env = append(os.Environ(), "HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir)
		s.quit, s.ready = syscall.SIGTERM, s.listens
		return os.WriteFile(file, []byte("{\n\tadmin off\n}\n"+conf(s.Addr)), 0o600)
	})
}

// listens asks for a connection.
func (s *Server) listens(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	if err == nil {
		err = c.Close()
	}
	return err
}
