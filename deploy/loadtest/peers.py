"""Other servers that do the same work, as far as they can: nginx and Caddy with fixed answers, and nginx with Lua."""

from servers import Server

NGINX = """
daemon off;
master_process off;
pid {directory}/{name}.pid;
error_log stderr;
{modules}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/{name}-body;
    proxy_temp_path {directory}/{name}-proxy;
    fastcgi_temp_path {directory}/{name}-fastcgi;
    uwsgi_temp_path {directory}/{name}-uwsgi;
    scgi_temp_path {directory}/{name}-scgi;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{ports[http]};
        listen 127.0.0.1:{ports[https]} ssl http2;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets on;
        {locations}
    }}
}}
"""

FIXED = 'location / { default_type text/plain; return 200 "Hello, World!"; }'

LUA_MODULES = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
"""
# Each as its script is: what is said to be JSON is parsed and written.
LUA = """
        location = /hello {
            default_type text/plain;
            content_by_lua_block { local said = "Hello, World!"; ngx.header.content_length = #said; ngx.print(said) }
        }
        location = /echo {
            default_type application/json;
            content_by_lua_block {
                local cjson = require "cjson"
                ngx.req.read_body()
                local said = cjson.encode(cjson.decode(ngx.req.get_body_data()))
                ngx.header.content_length = #said
                ngx.print(said)
            }
        }
        location ~ ^/hello/([^/]+)$ {
            default_type application/json;
            content_by_lua_block {
                local cjson = require "cjson"
                local said = cjson.encode({ hello = ngx.var[1] })
                ngx.header.content_length = #said
                ngx.print(said)
            }
        }
        location = /additions {
            default_type application/json;
            content_by_lua_block {
                local n = 0
                for i = 0, 9999 do n = n + i end
                local said = tostring(n)
                ngx.header.content_length = #said
                ngx.print(said)
            }
        }
        location = /fib {
            default_type application/json;
            content_by_lua_block {
                local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
                local said = tostring(fib(20))
                ngx.header.content_length = #said
                ngx.print(said)
            }
        }
"""

CADDY = """
{{
    admin off
    auto_https off
}}
(answers) {{
    bind 127.0.0.1
    @named path_regexp named ^/hello/([^/]+)$
    header @named content-type application/json
    respond @named `{{"hello":"{{re.named.1}}"}}`
    respond "Hello, World!"
}}
http://:{ports[http]} {{
    import answers
}}
https://:{ports[https]} {{
    import answers
    tls {chain} {key}
}}
"""


def nginx(ports, certificate, core, directory):
    """nginx with one process, TLS as it comes, and a fixed answer."""
    return nginx_with("nginx", FIXED, "", ports, certificate, core, directory)


def nginx_lua(ports, certificate, core, directory):
    """The same with what scripts do done by LuaJIT."""
    return nginx_with("nginx+lua", LUA, LUA_MODULES, ports, certificate, core, directory)


def nginx_with(name, locations, modules, ports, certificate, core, directory):
    chain, key = certificate
    config = directory / f"{name}.conf"
    config.write_text(NGINX.format(name=name, directory=directory, ports=ports, chain=chain, key=key, modules=modules,
                                   locations=locations))
    return Server(name, ["/usr/sbin/nginx", "-e", "stderr", "-p", directory, "-c", config], ports, core, directory)


def caddy(ports, certificate, core, directory):
    """Caddy with a fixed answer, and with a part of the path as JSON."""
    chain, key = certificate
    config = directory / "Caddyfile"
    config.write_text(CADDY.format(ports=ports, chain=chain, key=key))
    return Server("caddy", ["caddy", "run", "--config", config, "--adapter", "caddyfile"], ports, core, directory,
                  {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)})
