from p5t5.commands.pretrain import main

raise SystemExit(main())
