"""Small programs in every language that the package ships, for tests of its toolchains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Programs:
    """One language's programs.

    Attributes:
        hello: Prints `hello`.
        sum: Reads two numbers and prints `a+b`, which the text contains once.
        wrong: Is refused before it runs.
        error: Ends with an error; `said` is in the message.
        said: See there.
        endless: Computes forever.
        memory: Fills 4 GiB.
        fork: Starts processes; prints `started` if one was started.
        file: Prints the file at `@SECRET_FILE@`.
        socket: Prints `connected` if it got a socket.
    """

    hello: str
    sum: str
    wrong: str
    error: str
    said: str
    endless: str
    memory: str
    fork: str
    file: str
    socket: str


_C = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include <sys/socket.h>\n"
_C_MEMORY = 'long i;for(i=0;i<4096;i++){char*p=(char*)malloc(1<<20);if(!p)abort();memset(p,1,1<<20);}puts("filled");'
_C_FILE = 'int c;FILE*f=fopen("@SECRET_FILE@","r");if(!f)return 1;while((c=fgetc(f))!=EOF)putchar(c);'
_C_BODIES = {
    "error": "return 3;",
    "endless": "volatile int i=0;for(;;)i++;",
    "memory": _C_MEMORY,
    "fork": 'for(int i=0;i<50;i++){int p=fork();if(p==0){sleep(60);_exit(0);}if(p>0)puts("started");}return 1;',
    "file": _C_FILE,
    "socket": 'if(socket(AF_INET,SOCK_STREAM,0)>=0)puts("connected");return 1;',
}


def _c(head: str, hello: str, total: str) -> Programs:
    bodies = {name: f"{head}int main(){{{body}}}\n" for name, body in _C_BODIES.items()}
    return Programs(hello=hello, sum=total, wrong="int main( {}", said="exit status 3", **bodies)


_NODE = {
    "hello": "console.log('hello')",
    "sum": 'const [a,b]=require("fs").readFileSync(0,"utf8").split(" ").map(Number);console.log(a+b)',
    "error": "throw new RangeError('bad')",
    "said": "RangeError: bad",
    "endless": "for(;;);",
    "memory": "const all=[];for(let i=0;i<4096;i++)all.push(Buffer.alloc(1<<20,1));console.log('filled')",
    "fork": "const {spawn}=require('child_process');for(let i=0;i<50;i++)spawn('/bin/sleep',['60']).on('spawn',()=>console.log('started'))",
    "file": "process.stdout.write(require('fs').readFileSync('@SECRET_FILE@','utf8'))",
    "socket": "require('net').createServer().listen(0,()=>{console.log('connected');process.exit(0)})",
}


def _java(body: str) -> str:
    return f"import java.util.*;\npublic class Main {{ public static void main(String[] args) throws Exception {{ {body} }} }}\n"


def _go(imports: str, body: str) -> str:
    listed = "; ".join(f'"{name}"' for name in imports.split())
    return f"package main\nimport ({listed})\nfunc main() {{ {body} }}\n"


def _fortran(body: str) -> str:
    lines = "\n".join(body.split("; "))
    return f"program main\n{lines}\nend program\n"


PROGRAMS = {
    "c": _c(
        _C,
        '#include <stdio.h>\nint main(){puts("hello");}',
        '#include <stdio.h>\nint main(){int a,b;scanf("%d %d",&a,&b);printf("%d\\n",a+b);}',
    ),
    "cpp": _c(
        _C,
        '#include <iostream>\nint main(){std::cout<<"hello"<<std::endl;}',
        "#include <iostream>\nint main(){int a,b;std::cin>>a>>b;std::cout<<a+b<<std::endl;}",
    ),
    "javascript": Programs(wrong="const x = ;", **_NODE),
    "typescript": Programs(
        wrong="const x: number = ;",
        **{
            **_NODE,
            "sum": 'import * as fs from "fs";\nconst [a,b]: number[]=fs.readFileSync(0,"utf8").split(" ").map(Number);console.log(a+b)',
        },
    ),
    "java": Programs(
        hello=_java('System.out.println("hello");'),
        sum=_java(
            "Scanner in = new Scanner(System.in); int a = in.nextInt(), b = in.nextInt(); System.out.println(a+b);"
        ),
        wrong=_java("int x = ;"),
        error=_java('throw new IllegalStateException("bad");'),
        said="IllegalStateException",
        endless=_java("for (long i = 0; ; i++) if (i < 0) break;"),
        memory=_java(
            'List<byte[]> all = new ArrayList<>(); for (int i = 0; i < 4096; i++) all.add(new byte[1 << 20]); System.out.println("filled");'
        ),
        fork=_java(
            'for (int i = 0; i < 50; i++) { new ProcessBuilder("/bin/sleep", "60").start(); System.out.println("started"); }'
        ),
        file=_java('System.out.print(java.nio.file.Files.readString(java.nio.file.Path.of("@SECRET_FILE@")));'),
        socket=_java('new java.net.ServerSocket(0); System.out.println("connected");'),
    ),
    "go": Programs(
        hello=_go("fmt", 'fmt.Println("hello")'),
        sum=_go("fmt", "var a, b int; fmt.Scan(&a, &b); fmt.Println(a+b)"),
        wrong=_go("fmt", "x := ; fmt.Println(x)"),
        error=_go("fmt", 'fmt.Println(1); panic("bad")'),
        said="panic: bad",
        endless=_go("", "i := 0; for { i++ }"),
        memory=_go(
            "fmt",
            "var all [][]byte; for i := 0; i < 4096; i++ { p := make([]byte, 1<<20); for j := range p { p[j] = 1 }; all = append(all, p) }; fmt.Println(len(all))",
        ),
        fork=_go(
            "fmt os os/exec",
            'for i := 0; i < 50; i++ { if exec.Command("/bin/sleep", "60").Start() == nil { fmt.Println("started") } }; os.Exit(1)',
        ),
        file=_go(
            "fmt os",
            'data, err := os.ReadFile("@SECRET_FILE@"); if err != nil { panic(err) }; fmt.Print(string(data))',
        ),
        socket=_go(
            "fmt net",
            'if _, err := net.Listen("tcp", "127.0.0.1:0"); err != nil { panic(err) }; fmt.Println("connected")',
        ),
    ),
    "rust": Programs(
        hello='fn main() { println!("hello"); }',
        sum='fn main() { let mut s = String::new(); std::io::stdin().read_line(&mut s).unwrap(); let v: Vec<i64> = s.split_whitespace().map(|x| x.parse().unwrap()).collect(); let (a, b) = (v[0], v[1]); println!("{}", a+b); }',
        wrong="fn main() { let x: i32 = ; }",
        error='fn main() { panic!("bad"); }',
        said="panicked",
        endless="fn main() { let mut i = std::env::args().count() as u64; while i != 0 { i = i.wrapping_mul(6364136223846793005) | 1; } }",
        memory='fn main() { let mut all = Vec::new(); for _ in 0..4096 { all.push(vec![1u8; 1 << 20]); } println!("{}", all.iter().map(|part| part[0] as u64).sum::<u64>()); }',
        fork='fn main() { for _ in 0..50 { std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap(); println!("started"); } }',
        file='fn main() { print!("{}", std::fs::read_to_string("@SECRET_FILE@").unwrap()); }',
        socket='fn main() { std::net::TcpListener::bind("127.0.0.1:0").unwrap(); println!("connected"); }',
    ),
    "lua": Programs(
        hello="print('hello')",
        sum="local a, b = io.read('n', 'n')\nprint(a+b)",
        wrong="local x = = 1",
        error="error('bad')",
        said="bad",
        endless="while true do end",
        memory="local all = {}\nfor i = 1, 4096 do all[i] = string.rep('x', 2^20) .. i end\nprint('filled')",
        fork="for i = 1, 50 do if os.execute('sleep 60 &') then print('started') end end\nerror('none')",
        file="print(io.open('@SECRET_FILE@'):read('a'))",
        socket="print(require('socket').tcp() and 'connected')",
    ),
    "r": Programs(
        hello='cat("hello\\n")',
        sum='v <- scan(file("stdin"), quiet = TRUE); a <- v[1]; b <- v[2]; cat(a+b, "\\n")',
        wrong="",
        error='stop("bad")',
        said="",
        endless="repeat {}",
        memory='all <- list(); for (i in 1:64) all[[i]] <- rep(i + 0.5, 2^23); cat("filled\\n")',
        fork='for (i in 1:50) if (system("sleep 60 &") == 0) cat("started\\n"); stop("none")',
        file='cat(readLines("@SECRET_FILE@"))',
        socket='s <- serverSocket(0); cat("connected\\n")',
    ),
    "ocaml": Programs(
        hello='let () = print_endline "hello"',
        sum='let () = Scanf.scanf " %d %d" (fun a b -> Printf.printf "%d\\n" (a+b))',
        wrong="let x = in",
        error='let () = failwith "bad"',
        said="bad",
        endless="let () = let i = ref 0 in while true do incr i done",
        memory="let () = let all = ref [] in for i = 1 to 4096 do all := Bytes.make 1048576 (Char.chr (i land 7)) :: !all done; print_int (List.length !all)",
        fork='let () = for _ = 1 to 50 do if Unix.fork () = 0 then Unix.sleep 60 else print_endline "started" done',
        file='let () = print_endline (input_line (open_in "@SECRET_FILE@"))',
        socket='let () = ignore (Unix.socket Unix.PF_INET Unix.SOCK_STREAM 0); print_endline "connected"',
    ),
    "fortran": Programs(
        hello=_fortran('print "(a)", "hello"'),
        sum=_fortran('integer :: a, b; read *, a, b; print "(i0)", a+b'),
        wrong=_fortran("integer :: x = ;  ; x ="),
        error=_fortran("stop 3"),
        said="STOP 3",
        endless=_fortran("integer, volatile :: i; i = 0; do; i = mod(i + 1, 7); end do"),
        memory=_fortran('integer(8), allocatable :: x(:); allocate(x(536870912_8)); x = 1; print "(i0)", sum(x)'),
        fork=_fortran(
            'integer :: i, s; do i = 1, 50; call execute_command_line("sleep 60 &", exitstat=s); if (s == 0) print "(a)", "started"; end do; stop 1'
        ),
        file=_fortran(
            'character(200) :: line; open(unit=9, file="@SECRET_FILE@", status="old", action="read"); read(9, "(a)") line; print "(a)", trim(line)'
        ),
        socket=_fortran(
            'interface; integer(4) function sock(a, b, c) bind(c, name="socket"); integer(4), value :: a, b, c; end function; end interface; if (sock(2, 1, 0) >= 0) print "(a)", "connected"; stop 1'
        ),
    ),
    "julia": Programs(
        hello='println("hello")',
        sum="a, b = parse.(Int, split(readline()))\nprintln(a+b)",
        wrong="",
        error='error("bad")',
        said="bad",
        endless="while true end",
        memory='all = [ones(UInt8, 2^20) for _ in 1:4096]; println("filled")',
        fork='for i in 1:50; run(`sleep 60`, wait=false); println("started"); end',
        file='print(read("@SECRET_FILE@", String))',
        socket='import Sockets; Sockets.listen(0); println("connected")',
    ),
    "ruby": Programs(
        hello="puts 'hello'",
        sum="a, b = gets.split.map(&:to_i)\nputs a+b",
        wrong="x = = 1",
        error="raise 'bad'",
        said="bad (RuntimeError)",
        endless="loop {}",
        memory="all = (1..4096).map { |i| 'x' * (1 << 20) + i.to_s }\nputs all.size",
        fork="50.times { fork { sleep 60 }; puts 'started' }",
        file="puts File.read('@SECRET_FILE@')",
        socket="require 'socket'\nTCPServer.new(0)\nputs 'connected'",
    ),
    "bash": Programs(
        hello="echo hello",
        sum="read a b\necho $((a+b))",
        wrong="if then",
        error="exit 3",
        said="exit status 3",
        endless="while :; do :; done",
        memory="x=xxxxxxxxxxxxxxxx\nfor ((i = 0; i < 28; i++)); do x=$x$x; done\necho filled",
        fork=":(){ :|:& echo started; };:\nexit 1",
        file='read -r line < "@SECRET_FILE@" && echo "$line"',
        socket="exec 3<>/dev/tcp/127.0.0.1/22 && echo connected",
    ),
}
